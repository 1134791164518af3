"""Templates of the test notes: other authors than in `book_train.py`, fuller sentences, other headings and lists.

Slots are explained in `facts.py`, marks in `draft.py`.
"""

from notegen.facts import Book, Section, Style

STYLE = Style(
    routes={
        "tab": ("by mouth", "orally", "PO", "per os"),
        "inj": ("intravenously", "IV push", "IV", "IVPB"),
        "ins": ("SQ", "under the skin"),
        "inh": ("via spacer", "by inhalation"),
        "drip": ("IV infusion",),
        "drop": ("in each eye",),
    },
    frequencies={
        "tab": ("every day", "twice daily", "every 12 hours", "at bedtime", "qd", "each morning", "2x/day"),
        "inj": ("every 8 hours", "every 24 hours", "x 1", "Q6H", "q4-6h prn"),
        "ins": ("at bedtime", "before meals", "nightly"),
        "inh": ("every 4 hours as needed", "twice daily", "q6 prn"),
        "drip": ("titrated to effect",),
        "drop": ("every evening",),
    },
    dose_forms=(" ", " ", " ", "", "", "\u00a0", "-"),
    names=("___", "[**Doctor Last Name**]", "[**Name (NI)**]", "[**Known firstname**]"),
    dates=("___", "[**2163-2-9**]", "[**10-30**]", "[**2159**]", "11/02", "[**2163-12-24**]"),
    places=("___", "[**Location (un) 86**]", "[**Hospital3**]", "the nursing home"),
)

HISTORY = (
    "Mr./Ms. {name}, aged {age}, is known to have {dx} and {dx}, and came to us because of {sx}.",
    "For the past {n:3-12} hours there has been {sx}, accompanied by {sx} but never by {nosx}.",
    "Transferred from {place} for management of {ac} after failing {for}.",
    "According to the daughter, {sx} began on {date} and got steadily worse.",
    "Questioned directly, the patient did not report {nosx}, nor {nosx}.",
    "Negative for {nosx} / {nosx} / {nosx}; positive for {sx}.",
    "Medical background is notable for {dx}, diagnosed around [**2159**] and managed with {for}.",
    "One sibling has {famdx}; a grandparent had {famdx} at 61.",
    "The pain moves from the {anat:belly} to the <A|shoulder blade> and eases with {prn}.",
    "The trouble was first put down to a <P|cold>, since everyone at home was sick.",
    "{He} lives alone in an unheated house and complains that the rooms are cold.",
    "Retired teacher from Danbury, CT, former smoker, drinks socially.",
    "Compliance with {home} has been poor owing to <P|bad dreams> and cost.",
    "Prior workup in {place} included {proc:other} and {img}, both reportedly unrevealing.",
    "{He} took an extra {dose:home} of {home} at {time} without benefit.",
    "The patient feels depressed about the stay but has no history of {nodx}.",
)
EXAM = (
    "Observations: temperature {celsius} °C, pulse {hr}/min, blood pressure {bp} mmHg, saturating {sat}% on air.",
    "General appearance: tired-looking {man} who is in no distress, free of {nosg:general}.",
    "Auscultation reveals {sg:lung} over the {anat:lung}, more on the {side}.",
    "Inspection of the {anat:skin} shows {sg:skin} measuring about {n:2-9} cm.",
    "The {anat:belly} is non-tender and there is neither {nosg:general} nor {nosg:skin}.",
    "Wound over the {anat:skin} with yellowish <P|discharge>, edges well approximated.",
    "Strength and sensation normal around the {anat:limb}; reflexes brisk but symmetrical.",
    "Also present: {sg}, not noted previously.",
    "Capillary refill ≤ 2 seconds, peripheral pulses palpable at both <A|ankles>.",
    "Tenderness is elicited in the {anat:belly} with voluntary <P|rigidity>.",
)
VITALS_TABLE = (
    "Temp {celsius} °C\tPulse {hr}\tB/P {bp}\tResp {rr}\tPulse ox {sat}% room air",
    "At {time} hrs -> P {hr}, {bp}, R {rr}, {sat}% (4 L/min mask)",
)
LAB_LINES = (
    "{lab} = {val} {unit}",
    "{lab} ({val}), {lab} ({val}), {lab} ({val})",
    "{lab}\t{val}\t{unit}\tabnormal",
    "Bloods {date}: {lab} {val}; {lab} {val}; rest within limits",
    "{^cul:growth} negative at 48 hours",
    "{^proc:heart} read as normal by the attending",
    "repeat {lab} was ≥ {val} {unit}",
)
MED_LINES = (
    "{home}, {dose}, {route}, {freq}",
    "{dose:home} of {home} {freq}",
    "{rxdx} ({dose}) {freq} for {dx}",
    "{^home} {dose} x {n:1-2} {freq}, NEW",
    "as needed: {rxsx} {dose} for {sx}",
    "DISCONTINUED {home}",
)
ALLERGIES = (
    "Intolerant of {alg} (<P|anaphylaxis>, [**2159**])",
    "{^alg}: <P|angioedema>",
    "Adverse reactions: {alg}; {alg}",
    "Nil recorded",
)
COURSE = (
    "On the ward, {ac} was treated with {dose:for} of {for} given {route} {freq}.",
    "Because {lab:kidney} rose to {val:high} {unit}, {home} had to be stopped.",
    "As for the {dx}, we made no change and {for} was carried on at {dose}.",
    "Imaging by {img} on {date} demonstrated {fi} within the {site}.",
    "Neither {nofi} nor {nofi} could be identified on {img}.",
    "After {cul:growth} came back, coverage was narrowed from {abx} to {abx}, {dose} {freq}.",
    "Hemodynamic support required {drip} up to {dose} for {n:6-40} hours.",
    "Initially {roac} was considered, yet {lab} of {val} spoke against it.",
    "By the third day the {sx} had settled and {for} was no longer needed.",
    "The neurology team saw {him} for {sx}; {proc:other} was normal and {nodx} was never diagnosed.",
    "Stroke volume and filling pressures were normal by {proc:heart}.",
    "One episode of {sx} overnight responded to {for} {dose}.",
    "Potassium was replaced with <M|KCl> <D|40 mEq> and rechecked: {lab:electrolyte} {val}.",
    "{^home} was reintroduced cautiously, first <D|half a tablet>, later {dose} {freq}.",
    "The ICD delivered one shock on {date}; interrogation followed.",
    "With diuresis of 2,400 mL and a net loss of 3 kg, {sx} improved.",
    "{^proc:heart} excluded <P-|valvular disease> and <P-|regional wall motion abnormalities>.",
    "Biopsy from the {site} showed no signs of <P-|malignancy>.",
    "Surgical review: conservative line for {fx}, <M|antibiotics> stopped.",
    "A gain of 0.5 mg/dL in {lab:kidney} over two days was accepted.",
    "The pain clinic and the asthma nurse were informed; no change of {for}.",
    "<M|Iron> and <M|calcium> supplements, <D|500 mg> each, were added to {home}.",
    "Low potassium meals and a diabetes leaflet were arranged by the dietitian.",
    "{He} is enrolled in the hypertension registry and the heart program of {place}.",
    "Fluids ran at 100 mL/hr through a 20 gauge line in the <A|antecubital fossa>.",
)
PLAN = (
    "Regarding {ac}, complete {n:5-14} days of {for} ({dose} {freq}).",
    "For {dx}: raise {for} to {dose}; recheck {lab} within the week.",
    "{^sx} probably reflects {ac}, will obtain {proc:heart}.",
    "To exclude {roac} we are sending {lab} plus {cul}.",
    "Keep {home} at {dose} unless {hysx} develops.",
    "{^cls} are to be avoided while {lab} stays at {val}.",
    "Anticoagulate with <M|heparin>, <D|15 units/kg/hr>, target per protocol.",
    "Oxygen 2 L to keep saturation above 92%.",
    "Discharge planning: social work to call {place}, likely Friday.",
    "Sepsis bundle not triggered; cough etiquette explained to visitors.",
    "Abdomen to be reassessed at {time}, stroke pathway closed.",
    "Warm or cold pack to the {anat:limb}, weight-bearing ad lib.",
    "Await {cul:growth}; if positive start {abx}.",
    "{^dx} is longstanding and not active today.",
)
INSTRUCTIONS = (
    "The reason for your stay was {ac}, which caused your {sx}.",
    "Your new tablet is {rxdx}, for {dx}: {dose} {freq} with food.",
    "Come straight back if {hysx} or {hysx} occurs.",
    "Do not combine {cls} with {prn}.",
    "Join the COPD exercise group and eat less than 5 g of sodium a day.",
    "An appointment for {proc} is booked with Dr. {name} ({date}).",
    "Keep the dressing dry and look out for {hysg} or <Ph|foul discharge>.",
)
RAD_EXAM = (
    "Procedure performed: {img}, {anat}, {date}",
    "{img} with and without contrast - {name}",
    "Requested by Dr. {name}: {img}",
)
RAD_INDICATION = (
    "Clinical details: {sx} in a patient who has {dx}; is there {rofx}?",
    "Query {rofi}. Known {dx}.",
    "Worsening {sx} despite {home}, exclude {roac}.",
    "Follow-up of {fx} reported at {place}.",
)
RAD_FINDINGS = (
    "There is, in the {site}, {fi} which is slightly larger than before.",
    "Within the {site} one sees a {mm}-mm <P|lesion> of uncertain nature.",
    "{^nofi} is not identified, and {nofi} is likewise absent.",
    "Normal {anat}. Normal {anat}.",
    "Appearances at the {site} suggest {fi} rather than {rofi}.",
    "Previously described <P|collection> has drained from the {site}. {^fx} persists.",
    "Extending across the {site} there is {fi} with a thickness of {n:1-4}.{n:1-9} cm.",
    "Incidental note is made of {fx}, of doubtful relevance.",
    "Free of {nofi}: {anat}, {anat}.",
    "Acquired with the head first, 5 mm slices, 90 mL of contrast; {fi} at the {site}.",
    "Normal discharge of contrast into the {anat}.",
)
RAD_IMPRESSION = (
    "Picture of {fi} affecting the {site}; correlate with {lab}.",
    "Appearances in keeping with {ac}.",
    "{^roac} cannot be ruled out; suggest {img}.",
    "Stable {fx} since {date}, benign-looking.",
    "Study otherwise within normal limits, {nofi} excluded.",
)
TRIAGE = (
    "Walk-in, {age}-year-old {male}: main problem {sx}, onset {time}.",
    "Self-presented after {n:2-5} days of {sx} and {sx}; took {for} {dose} at home.",
    "No {nosx} or {nosx} reported to triage nurse; <P|vomited> once en route.",
    "Fell in the fall of last year as well and broke the <A|left wrist>.",
    "Slept in a cold car and woke with <P|stabbing pain> in the {anat:belly}.",
    "Treated with {rxac}, {dose} {route}, for {ac}, then {prn} {dose}.",
    "Bedside {proc:heart} unremarkable; {lab} came back at {val}.",
    "{^img} obtained: {nofi} ruled out.",
    "Thought unlikely: {roac}, {rodx}. Working diagnosis: {ac}.",
    "{^cul} and {lab} sent before {cls} were given.",
    "Taking {rxdx} for {dx}, last dose this morning.",
    "Pneumonia season, so a mask was offered; thirsty, given 200 mL of water.",
    "No ultrasound machine was free, hence {img} next day.",
    "Referred to the medical team with {ac}.",
    "Reassured and let go with {rxac} {dose} {freq} against the {ac}, to see own doctor.",
    "{^sx} down from {n:7-10} to {n:1-4} out of ten within the hour.",
)
NURSING = (
    "Admitted under medicine with {ac}, also has {dx}.",
    "History on the chart: {dx}, {dx}.",
    "Received patient awake, watching TV, oriented to person and place.",
    "Woke at {time} with {sx}; {dose:for} of {for} administered, effective.",
    "{^drip} infusing at {dose} via central line, MAP above 65.",
    "Sugar {n:110-290} before supper, {units} of <M|aspart> given.",
    "Skin check: {sg:skin} over {anat:skin}; heels floated.",
    "Drain output 60 mL, no <P-|bleeding>, binder on.",
    "Declined {home}, says it gives {him} {sx}.",
    "Doctor notified of {lab} {val}, order received for {prn} {dose}.",
    "Falls risk score 14, yellow band on; the MRI suite rang to ask for weight (71 kg).",
    "Chest drain trolley returned to stores; heart monitor silenced at {time}.",
    "Specimens for {cul} walked to the lab.",
    "Voiding well; denied any {nosx} when asked.",
)
MED_NOTES = (
    "{^rxdx} was prescribed by {name} to control {dx}.",
    "Ran into {sx} on {home}, hence the reduction to {dose}.",
    "Main conditions are {dx} and {dx}.",
    "Avoid {cls} in view of {dx}.",
    "Due for {lab} monitoring ({val} on {date}).",
    "Has a lithium card and an insulin pen holder but uses neither; only {home} is taken.",
    "Got 3 units of blood a month ago, none since. {^lab} {val}.",
    "Pill box filled weekly by {place}; brings own {home}.",
    "Over the counter {rxsx} {dose} roughly {n:2-4} times a month against {sx}.",
)

ID_LINES = (
    "Day {n:2-9} of admission with {ac}; background of {dx}.",
    "{^dx} patient, {age} years, in bed {n:3-40} because of {ac}.",
    "Known for {dx} plus {dx}, now recovering from {ac}.",
)

LAYOUTS = {
    "discharge_summary": (
        Section(
            (),
            "lines",
            ("Patient {name}, {age}{sex}, in {date}, out {date}", "Service: Medicine, Attending {name}"),
            1,
            2,
            0.7,
        ),
        Section(("Why You Came In", "Reason for Admission"), "lines", ("{^sx} with {sx}", "{^ac}, {sx}"), 1, 1, 0.7),
        Section(("Presenting History", "Story"), "prose", HISTORY, 3, 6),
        Section(
            ("Background",),
            "bullets",
            ("{^dx}, long known", "{dx} (on {for})", "{^dx}", "previous <P|hernia> repair"),
            2,
            3,
            0.8,
        ),
        Section(("Drug Sensitivities",), "lines", ALLERGIES, 1, 1, 0.6),
        Section(("On Examination",), "prose", EXAM, 2, 5, 0.6),
        Section(("Investigations",), "lines", LAB_LINES, 2, 5, 0.7),
        Section(("Progress in Hospital", "Clinical Course"), "prose", COURSE, 3, 8),
        Section(("Going Home On", "Drugs at Discharge"), "bullets", MED_LINES, 2, 6, 0.8),
        Section(("Final Diagnoses",), "bullets", ("{^ac}", "{^dx}", "{ac}, resolving"), 1, 2, 0.7),
        Section(("Advice to Patient",), "prose", INSTRUCTIONS, 1, 3, 0.6),
    ),
    "progress_note": (
        Section((), "prose", ID_LINES, 1, 1, 0.75),
        Section(("Overnight", "24-hour Summary"), "prose", COURSE + HISTORY[4:6], 2, 4),
        Section(("Findings Today",), "prose", EXAM, 2, 4),
        Section(("Results",), "lines", LAB_LINES, 1, 4, 0.8),
        Section(("Drug Chart",), "bullets", MED_LINES, 2, 4, 0.3),
        Section(("Thoughts and Next Steps", "Plan of Care"), "bullets", PLAN, 2, 6),
    ),
    "radiology_report": (
        Section((), "lines", RAD_EXAM, 1, 1),
        Section(("Clinical Information", "Question"), "prose", RAD_INDICATION, 1, 1),
        Section(
            ("Technique",), "lines", ("Standard protocol, 5 mm cuts.", "Compared with {img} of {date}."), 1, 1, 0.6
        ),
        Section(("Report", "Description"), "prose", RAD_FINDINGS, 3, 6),
        Section(("Conclusion", "Summary"), "bullets", RAD_IMPRESSION, 1, 3),
    ),
    "emergency_visit": (
        Section(("Arrival", "Presenting Problem"), "prose", TRIAGE[:5] + TRIAGE[10:11], 2, 4),
        Section(("Obs",), "lines", VITALS_TABLE, 1, 2, 0.8),
        Section(
            ("Known Conditions",),
            "prose",
            ("Has {dx} and {dx}.", "{^dx} only.", "Only {dx}, never had {nodx}."),
            1,
            1,
            0.9,
        ),
        Section(("Drug Sensitivities",), "lines", ALLERGIES, 1, 1, 0.4),
        Section(("Management", "Decision Making"), "prose", TRIAGE[5:10] + TRIAGE[11:], 2, 5),
    ),
    "medication_list": (
        Section((), "lines", ("Drug history taken by pharmacist {name}", "Current prescriptions as of {date}"), 1, 1),
        Section(("Regular", "Prescribed"), "bullets", MED_LINES, 3, 7),
        Section(("Drug Sensitivities",), "lines", ALLERGIES, 1, 1, 0.6),
        Section(("Remarks",), "prose", MED_NOTES, 1, 3, 0.7),
    ),
    "nursing_note": (Section(("Shift Report", "RN Handover"), "prose", NURSING, 3, 7),),
}
BRIEF = {
    "discharge_summary": ("Uneventful stay for {ac}; leaves with {home} {dose} {freq}.", "Sent home, {sx} gone."),
    "progress_note": ("Comfortable today, {sx} better, same dose of {home}.", "Seen for {dx}; never any {nosx}."),
    "radiology_report": ("Normal {img}.", "{^fi} at the {site}; {nofi} excluded by {img}."),
    "emergency_visit": ("Brief visit for {sx}; {lab} {val}, left before review.", "{^ac}, given {for}, referred."),
    "medication_list": ("Nothing regular apart from {home} ({dose}).", "{home} plus {prn} {dose} as needed."),
    "nursing_note": ("Settled night, one dose of {prn}.", "Refuses {home}; doctor told about {sx}."),
}
DAY = Section(("Day",), "prose", COURSE + EXAM + PLAN + LAB_LINES[:2], 7, 10)
BOOK = Book(STYLE, LAYOUTS, BRIEF, DAY, ("## {plain}\n", "{plain} - ", "[{plain}]\n"), ("• ", "{n}) ", "* "))
