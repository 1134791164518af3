"""Templates of the train and dev notes: an American teaching hospital, capital headings, terse residents.

Slots are explained in `facts.py`, marks such as `<P|cold>` in `draft.py`. No sentence frame of this file may occur in
`book_test.py`: a test compares them.
"""

from notegen.facts import Book, Section, Style

STYLE = Style(
    routes={
        "tab": ("PO", "PO", "p.o.", "by mouth"),
        "inj": ("IV",),
        "ins": ("SC", "subcutaneously"),
        "inh": ("inhaled", "INH"),
        "drip": ("IV",),
        "drop": ("OU", "to both eyes"),
    },
    frequencies={
        "tab": ("daily", "daily", "b.i.d.", "BID", "qHS", "once a day", "QOD", "qAM"),
        "inj": ("q8h", "q12h", "q24h", "q6h"),
        "ins": ("qHS", "every morning", "with breakfast", "AC"),
        "inh": ("q4h PRN", "BID", "daily"),
        "drip": ("continuous",),
        "drop": ("daily", "BID"),
    },
    dose_forms=(" ", " ", " ", " ", "", "\u00a0"),
    names=("___", "[**Name**]", "[**Known lastname 1234**]", "[**First Name8 (NamePattern2)**]"),
    dates=("___", "[**2151-7-16**]", "[**2148-11-3**]", "[**9-21**]", "03/14", "[**2151-1-30**]"),
    places=("___", "[**Hospital1 18**]", "[**Hospital Ward Name**]", "an outside hospital"),
)

HISTORY = (
    "{age} yo {man} with h/o {dx}, {dx} who presents with {sx} and {sx} x {n:2-9} days.",
    "This is a {age} year old {man} with a past medical history of {dx} admitted from {place} with {ac}.",
    "{He} was in {his} usual state of health until {n:2-6} days ago, when {he} developed {sx}.",
    "{He} c/o {sx} but denies {nosx}, {nosx} or {nosx}.",
    "No {nosx}. No {nosx}. +{sx}.",
    "{His} {sx} is worse with exertion and relieved by rest.",
    "{He} had run out of {his} {home} and had not refilled {his} {cls} for several weeks.",
    "On arrival {he} was given {rxac} {dose} {route} for presumed {ac}, and {prn} {dose} {route}.",
    "There is a family history of {famdx} in a parent and {famdx} in a sibling.",
    "{He} works outdoors in cold weather and smokes {n:1-2} packs per day.",
    "{He} caught a <P|cold> from a grandchild and has had <P|nasal congestion> since {date}.",
    "Of note, {he} was seen at {place} on {date} for {ac}, which was treated with {for}.",
    "The patient moved here from Hartford, CT and has no local doctor.",
    "{His} wife noted that {he} was more confused and had stopped taking {home}.",
    "ROS otherwise negative for {nosx}, {nosx} and {nosx}.",
    "Patient is s/p a car accident {n:2-20} years ago with <P|chronic low back pain> treated with {prn}.",
)
EXAM = (
    "VS: T {temp} °F, BP {bp}, HR {hr}, RR {rr}, O2 sat {sat}% on RA (goal ≥ 92%).",
    "GEN: pleasant {man}, NAD, no {nosg:general}.",
    "Exam notable for {sg}.",
    "CHEST: good air movement, no {nosg:lung}.",
    "{^sg:skin} noted over the {anat:skin}.",
    "PULM: {sg:lung} at the {anat:lung}, otherwise CTA.",
    "ABD: soft, no <P-|tenderness> in the {anat:belly}, no {nosg:general}.",
    "EXT: warm, <P|edema> to the mid <A|shin>, no {nosg:skin}.",
    "NEURO: alert, follows commands, normal tone, no <P-|focal deficit>.",
    "Lines: PICC in the <A|right arm>, site clean without <P-|discharge>.",
    "SKIN: <P|pressure ulcer> at the {anat:skin}, {n:2-6} cm, with <P|purulent discharge>.",
    "Cold compress applied to the {anat:skin}.",
)
VITALS_TABLE = (
    "{time}   T {temp}   HR {hr}   BP {bp}   RR {rr}   SpO2 {sat}%",
    "{time} | {temp} | {hr} | {bp} | {rr} | {sat}% 2L NC",
)
LAB_LINES = (
    "{lab} {val} {unit}",
    "{lab}: {val} (H)",
    "{lab} {val} {unit}, {lab} {val} {unit}, {lab} {val}",
    "[**2151-7-16**] 06:10AM BLOOD {lab}-{val} {lab}-{val} {lab}-{val}",
    "{^cul:growth}: no growth to date",
    "{^cul:other}: pending",
    "<T|EKG>: sinus rhythm at {hr}, no <P-|ST elevations>",
    "{^proc:heart}: EF {n:25-65}%, no <P-|pericardial effusion>",
    "<T|CXR>: no <P-|consolidation>, no <P-|free air>",
)
MED_LINES = (
    "{home} {dose} {route} {freq}",
    "{home} {dose} {route} {freq}",
    "{^home} {dose} Tablet Sig: <D|One (1) Tablet> {route} {freq}",
    "{prn} {dose} {route} q6h PRN <P|pain>",
    "{rxsx} {dose} {route} PRN {sx}",
    "{home} {dose} {freq} (last filled {date})",
    "{home} - held on admission",
    "{cls}: none",
)
ALLERGIES = ("{^alg} (rash as a child)", "{alg}, {alg}", "{^alg} causes <P|hives>", "No known drug allergies")
COURSE = (
    "# {^ac}: The patient was started on {for} {dose} {route} {freq}.",
    "# {^dx}: stable, continued home {for} {dose} {freq}.",
    "# {^dx}: {for} was held given {lab:kidney} of {val:high} and restarted at {dose} on {date}.",
    "{He} underwent {img} of the {site}, which showed {fi} without {nofi}.",
    "{^cul:growth} grew gram negative rods and {abx} was changed to {abx} {dose} {freq}.",
    "{^lab} peaked at {val:high} {unit} and trended down to {val:low} {unit} by day {n:3-6}.",
    "{^proc:heart} was obtained and showed no evidence of <P-|wall motion abnormality>.",
    "{He} has no history of {nodx} or {nodx}.",
    "Cardiology was consulted for {sx} and recommended {proc:heart}.",
    "{He} received {rxsx} {dose} overnight for {sx}.",
    "{^drip} drip at {dose} was weaned off on hospital day {n:2-5}.",
    "{His} {sx} resolved and {he} was transferred to the floor.",
    "There was concern for {roac}, but {lab} was normal and {img} was negative.",
    "{He} remained afebrile with no further {sx}.",
    "Dose was increased to <D|40 mg> BID, then cut back to <D|20 mg> for <P|dizziness>.",
    "{He} was transfused 2 units of red cells for {lab:red} of {val:low}.",
    "Nutrition saw the patient on {date}; tube feeds at 45 mL/hr were tolerated.",
    "<M|Metoprolol> was uptitrated from <D|12.5 mg> to <D|25 mg> with HR in the 60s.",
    "{He} was kept NPO after midnight for {proc:other}, which was normal.",
    "Seen by the stroke service and the liver team, no new recommendations beyond {for}.",
    "<M|Potassium> <D|40 mEq> and <M|magnesium> <D|2 g> were given after {lab} returned at {val}.",
    "{He} was taught about a heart healthy diet by the diabetes educator.",
    "Chest PT and incentive spirometer were continued for {fx}.",
    "PT evaluated {him} and cleared {him} for home with a walker.",
    "{^fi} in the {site} was felt to be an old finding.",
)
PLAN = (
    "{^ac}: continue {for} {dose} {route} {freq}, follow {lab}",
    "{^dx}: on {for} {dose}, will check {lab} in AM",
    "{^sx}: workup ongoing; {for} {dose} PRN",
    "r/o {roac}: {proc:heart} ordered, {lab} q8h, {cul} sent",
    "{^dx}: not at goal, increase {for} to {dose} {freq}",
    "FEN: replete {lab:electrolyte}, low salt diet, 1.5 L fluid restriction",
    "PPX: <M|heparin> <D|5000 units> SC TID, bowel regimen with <M|docusate>",
    "Code: full. Dispo: home in {n:1-3} days with PT",
    "Wean O2 as tolerated, currently on 3 L",
    "Hold <M|diuretics> today for {lab:kidney} of {val:high}",
    "d/c Foley, encourage ambulation",
    "Fall precautions, head of bed at 30 degrees",
    "Pneumonia vaccine prior to discharge; asthma clinic to call with a date",
    "CT scanner down until noon, {img} rescheduled",
    "No need for {img:head}; exam without <P-|neck stiffness>",
)
INSTRUCTIONS = (
    "You were admitted with {sx} and found to have {ac}.",
    "Please take {rxac} {dose} for your {ac} for {n:3-10} more days and weigh yourself every morning.",
    "We stopped your {home}; do not take it until you see Dr. {name}.",
    "Return to the ER for {hysx}, {hysx} or any other concerns.",
    "Limit yourself to 2 g of sodium and keep your appointment at the CHF clinic.",
    "Follow up with Dr. {name} on {date} to have your {lab} checked.",
    "Call us if you notice {hysg} or a temperature over 101.",
)
RAD_EXAM = (
    "EXAMINATION: {img} of the {site}",
    "{img} {date}, {n:2-4} views",
    "STUDY: {img} without contrast",
)
RAD_INDICATION = (
    "{age} year old {man} with {sx}. Evaluate for {roac}.",
    "{^sx}, history of {dx}. ?{rofi} vs {rofx}.",
    "{^dx}, now with {sx} and {lab} of {val}.",
    "R/o {rofx} in {age} y/o {sex} on {home}.",
)
RAD_FINDINGS = (
    "There is {fi} in the {site}.",
    "{^fx} is again noted, unchanged from {date}.",
    "No {nofi} or {nofi} is seen.",
    "Unremarkable {anat}.",
    "A {mm} mm <P|nodule> in the {site} is new since the prior {img}.",
    "The {anat} and the {anat} are normal in appearance without {nofi}.",
    "New {fi} involves the {site} and measures {n:2-5} x {n:2-5} cm.",
    "There is no evidence of {nofi}.",
    "{^fx}, mild. No displaced line or tube.",
    "Evaluation of the {anat} is limited by motion.",
)
RAD_IMPRESSION = (
    "{^fi} of the {site}, as above.",
    "No acute {nofi}.",
    "{^fi}, concerning for {roac} in the right clinical setting.",
    "Interval improvement in {fx}.",
    "Findings consistent with {ac}.",
    "Findings discussed with Dr. {name} by phone at {time}.",
    "No {nofi}. Recommend {img} in {n:3-6} months.",
)
TRIAGE = (
    "{age} y/o {sex} brought in by EMS c/o {sx} since {time}.",
    "Pt states {sx} started after dinner, {n:3-10}/10, radiating to the <A|back>.",
    "Denies {nosx}, {nosx}, recent travel.",
    "Came back to the ED today because {sx} did not improve on {for}.",
    "In the ED, got {rxsx} {dose} {route} for {sx} and 1 L NS.",
    "{^proc:heart} with no changes from prior. {^lab} {val}.",
    "{^img} neg for {nofi}.",
    "MDM: low suspicion for {roac} given normal {lab}.",
    "Ddx includes {rodx}, {roac}; will get {cul} and {lab}.",
    "Impression: {ac}.",
    "Dispo: admit to medicine for {ac}.",
    "Pt feels better, stable for discharge w/ Rx for {rxac} {dose} {freq} for {ac}.",
    "Tripped on ice, no LOC, has <P|laceration> over the {anat:limb}; tetanus updated.",
    "Weight 84 kg, wears glasses, up to date on flu shot.",
    "EKG leads removed, PICC flushed with 10 mL.",
    "Lab called with a hemolyzed sample, so {lab} was repeated and was {val}.",
)
NURSING = (
    "{age} y/o {male} with hx {dx} and {dx}, here for {ac}.",
    "PMH: {dx}. Takes {for} at home.",
    "Pt alert and oriented x3, resting in bed, call bell in reach.",
    "Pt c/o {sx} at {time}, given {for} {dose} {route} with relief.",
    "{^drip} gtt running at {dose}, BP {bp}.",
    "Blood sugar covered with <M|sliding scale insulin>, {units}.",
    "Dressing to {anat:skin} changed, small amount of serous <P|drainage>.",
    "Foley draining clear urine, 450 mL over shift.",
    "<M|Lisinopril> held for SBP < 100, MD aware.",
    "No {nosg:skin} at IV site.",
    "Pt refused {home} this evening because of {sx}.",
    "{^cul} sent to lab, {lab} pending.",
    "On fall precautions, bed alarm on; sepsis screen done per protocol.",
    "Drank 8 oz of juice for {lab} of {val:low}; snack with 15 g carbohydrate given.",
    "Family at bedside, updated on plan for discharge tomorrow.",
    "{^sg:skin} unchanged from previous shift, elevated on two pillows.",
)
MED_NOTES = (
    "Takes {rxdx} for {dx}.",
    "Stopped {home} last month because of {sx}.",
    "Fills {rxdx} regularly ({dx}).",
    "Not on any {cls}.",
    "{^lab} last checked {date}: {val}.",
    "Pharmacy: call {place} for refills x{n:1-5}.",
    "Uses {rxsx} {dose} when {he} has {sx}.",
)

ID_LINES = (
    "{age}{sex} with {dx} and {dx} admitted for {ac}.",
    "{age} y/o {sex} w/ PMH significant for {dx}, HD#{n:2-9} for {ac}.",
    "{^ac} in a {man} with {dx}, {dx}, improving.",
)

LAYOUTS = {
    "discharge_summary": (
        Section(
            (), "lines", ("Admission Date: {date}   Discharge Date: {date}", "Name: {name}   Sex: {sex}"), 1, 2, 0.7
        ),
        Section(("Allergies",), "lines", ALLERGIES, 1, 1, 0.6),
        Section(("Chief Complaint",), "lines", ("{^sx}", "{^sx}, {sx}", "{^ac}"), 1, 1, 0.7),
        Section(("History of Present Illness", "HPI"), "prose", HISTORY, 3, 6),
        Section(
            ("Past Medical History", "PMH"),
            "bullets",
            ("{^dx}", "{^dx}", "{^dx} on {for}", "s/p <P|appendicitis>"),
            2,
            3,
            0.8,
        ),
        Section(("Physical Exam",), "lines", EXAM, 2, 5, 0.6),
        Section(("Pertinent Results",), "lines", LAB_LINES, 2, 5, 0.7),
        Section(("Brief Hospital Course",), "lines", COURSE, 3, 8),
        Section(("Discharge Medications",), "bullets", MED_LINES, 2, 6, 0.8),
        Section(("Discharge Diagnosis",), "lines", ("{^ac}", "{^dx}", "Primary: {ac}. Secondary: {dx}."), 1, 2, 0.7),
        Section(("Discharge Instructions",), "prose", INSTRUCTIONS, 1, 3, 0.6),
    ),
    "progress_note": (
        Section((), "prose", ID_LINES, 1, 1, 0.75),
        Section(("Subjective", "Interval Events"), "prose", COURSE + HISTORY[3:6], 2, 4),
        Section(("Objective", "Exam"), "lines", EXAM, 2, 4),
        Section(("Labs", "Data"), "lines", LAB_LINES, 1, 4, 0.8),
        Section(("Current Meds",), "bullets", MED_LINES, 2, 4, 0.3),
        Section(("Assessment/Plan", "A/P"), "bullets", PLAN, 2, 6),
    ),
    "radiology_report": (
        Section((), "lines", RAD_EXAM, 1, 1),
        Section(("Indication", "Reason for this exam"), "prose", RAD_INDICATION, 1, 1),
        Section(("Comparison",), "lines", ("None.", "{img} from {date}."), 1, 1, 0.6),
        Section(("Findings",), "prose", RAD_FINDINGS, 3, 6),
        Section(("Impression",), "bullets", RAD_IMPRESSION, 1, 3),
    ),
    "emergency_visit": (
        Section(("ED Triage", "ED Course"), "prose", TRIAGE[:5] + TRIAGE[12:13], 2, 4),
        Section(("Vitals",), "lines", VITALS_TABLE, 1, 2, 0.8),
        Section(("PMH",), "prose", ("{^dx}, {dx}.", "{^dx}.", "{^dx}; no {nodx}."), 1, 1, 0.9),
        Section(("Allergies",), "lines", ALLERGIES, 1, 1, 0.4),
        Section(("Workup", "MDM"), "prose", TRIAGE[5:12] + TRIAGE[13:], 2, 5),
    ),
    "medication_list": (
        Section(
            (),
            "lines",
            ("Medication reconciliation for {name}, {date}", "Home meds per pharmacy, verified w/ pt"),
            1,
            1,
        ),
        Section(("Allergies",), "lines", ALLERGIES, 1, 1, 0.6),
        Section(("Medications", "Medications on Admission"), "bullets", MED_LINES, 3, 7),
        Section(("Comments",), "prose", MED_NOTES, 1, 3, 0.7),
    ),
    "nursing_note": (Section(("Nursing Note", "NSG 7a-7p"), "prose", NURSING, 3, 7),),
}
BRIEF = {
    "discharge_summary": (
        "No acute distress, d/c home on {home} {dose} daily.",
        "Admitted overnight for {sx}, ruled out for {roac}, home on {home}.",
    ),
    "progress_note": ("Doing well, no {nosx}, continue {home} {dose}.", "{^dx}: stable on {for}. RTC {n:2-6} months."),
    "radiology_report": ("{img} of the {site}: no {nofi}.", "{img}: {fi} in the {site}, no {nofi}."),
    "emergency_visit": ("{age} {sex} with {sx}, normal {proc:heart}, d/c'd.", "LWBS. Triage complaint: {sx}."),
    "medication_list": ("{home} {dose} {route} {freq}, {home} {dose} {freq}.", "Only takes {home} {dose} PRN."),
    "nursing_note": ("Pt slept well, denies {nosx}.", "Given {rxsx} {dose} for {sx} at {time}."),
}
DAY = Section(("Hospital Day",), "prose", COURSE + EXAM + PLAN + LAB_LINES[:3], 7, 10)
BOOK = Book(STYLE, LAYOUTS, BRIEF, DAY, ("{upper}:\n", "{plain}:\n", "{plain}: "), ("- ", "# ", "{n}. "))
