"""The medications of the synthetic notes with usual doses, in the tiers of `problems.py`, and their use."""

# tier | use | what it is given for | form | doses | surfaces
MEDICATIONS = """
s|home|hypertension heart_failure|tab|5 mg;10 mg;20 mg;40 mg|lisinopril
s|home|hypertension|tab|2.5 mg;5 mg;10 mg|amlodipine
s|home|hypertension heart_failure coronary_disease|tab|12.5 mg;25 mg;50 mg;100 mg|metoprolol
a|home|hypertension|tab|25 mg;50 mg;100 mg|losartan, atenolol, hydralazine, Lopressor@metoprolol, Cozaar@losartan
a|home|hypertension|tab|12.5 mg;25 mg|hydrochlorothiazide, HCTZ@hydrochlorothiazide, chlorthalidone
b|home|hypertension heart_failure|tab|3.125 mg;6.25 mg;12.5 mg;25 mg|carvedilol, Coreg@carvedilol
b|home|hypertension|tab|80 mg;160 mg;320 mg|valsartan, Diovan@valsartan, irbesartan
b|home|hypertension|tab|5 mg;10 mg|Norvasc@amlodipine, Zestril@lisinopril, enalapril, benazepril
b|home|hypertension|tab|0.1 mg;0.2 mg|clonidine
s|home|heart_failure renal|tab|20 mg;40 mg;80 mg|furosemide
a|home|heart_failure|tab|20 mg;40 mg;80 mg|Lasix@furosemide, lasix@furosemide
a|home|heart_failure|tab|12.5 mg;25 mg;50 mg|spironolactone
b|home|heart_failure|tab|10 mg;20 mg|torsemide
b|home|heart_failure|tab|0.5 mg;1 mg;2 mg|bumetanide, Bumex@bumetanide
b|home|heart_failure|tab|24/26 mg;49/51 mg|Entresto, sacubitril-valsartan@Entresto
b|home|heart_failure|tab|0.125 mg;125 mcg;250 µg|digoxin, Lanoxin@digoxin
s|home|coronary_disease|tab|81 mg;325 mg|aspirin
a|home|coronary_disease|tab|81 mg|ASA@aspirin, baby aspirin@aspirin
b|home|coronary_disease|tab|81 mg;325 mg|Ecotrin@aspirin
a|home|coronary_disease|tab|75 mg|clopidogrel, Plavix@clopidogrel
b|home|coronary_disease|tab|90 mg;60 mg|ticagrelor, Brilinta@ticagrelor
a|home|coronary_disease|tab|0.4 mg;0.3 mg|nitroglycerin
b|home|coronary_disease|tab|30 mg;60 mg|isosorbide mononitrate, Imdur@isosorbide mononitrate
s|home|coronary_disease|tab|20 mg;40 mg;80 mg|atorvastatin
a|home|coronary_disease|tab|10 mg;20 mg;40 mg|simvastatin, pravastatin, Lipitor@atorvastatin
b|home|coronary_disease|tab|5 mg;10 mg;20 mg|rosuvastatin, Crestor@rosuvastatin, ezetimibe
s|home|diabetes|tab|500 mg;850 mg;1000 mg|metformin
a|home|diabetes|tab|2.5 mg;5 mg;10 mg|glipizide, glyburide
b|home|diabetes|tab|10 mg;25 mg|empagliflozin, Jardiance@empagliflozin
b|home|diabetes|tab|50 mg;100 mg|sitagliptin, Januvia@sitagliptin
b|home|diabetes|tab|500 mg;1 g|Glucophage@metformin
s|home|diabetes|ins|8 units;10 units;14 units;20 units|insulin glargine
a|home|diabetes|ins|6 units;10 units;22 units;30 units|Lantus@insulin glargine, NPH insulin, regular insulin
b|home|diabetes|ins|4 units;12 U;18 units;35 units|Humalog, insulin lispro@Humalog, insulin detemir
b|home|diabetes|ins|4 units;12 U;18 units;35 units|Levemir@insulin detemir
s|home|respiratory|inh|2 puffs;1-2 puffs|albuterol
a|home|respiratory|inh|2 puffs;1 puff|Advair, tiotropium, ipratropium, fluticasone
b|home|respiratory|inh|1 inhalation;18 mcg|Spiriva@tiotropium
b|home|respiratory|inh|2 puffs;1-2 inhalations|Symbicort, budesonide, Combivent, Ventolin@albuterol
a|home|respiratory|tab|10 mg|montelukast
b|home|respiratory|tab|10 mg|Singulair@montelukast
s|home|mental_health|tab|25 mg;50 mg;100 mg|sertraline
a|home|mental_health|tab|10 mg;20 mg;40 mg|citalopram, fluoxetine, Prozac@fluoxetine
a|home|mental_health|tab|50 mg;100 mg|trazodone
b|home|mental_health|tab|10 mg;20 mg|escitalopram, Lexapro@escitalopram, paroxetine
b|home|mental_health|tab|50 mg;100 mg|Zoloft@sertraline, quetiapine, Seroquel@quetiapine
b|home|mental_health|tab|150 mg;300 mg|bupropion, lithium carbonate
b|home|mental_health|tab|37.5 mg;75 mg;150 mg|venlafaxine
s|home|neurological|tab|100 mg;300 mg;600 mg|gabapentin
a|home|neurological|tab|500 mg;750 mg;1000 mg|levetiracetam, Keppra@levetiracetam
a|home|neurological|tab|5 mg;10 mg|donepezil, memantine
b|home|neurological|tab|100 mg;200 mg|phenytoin, Dilantin@phenytoin, carbamazepine, lamotrigine, topiramate
b|home|neurological|tab|25/100 mg;25/250 mg|Sinemet
s|home|-|tab|20 mg;40 mg|omeprazole
a|home|-|tab|20 mg;40 mg|pantoprazole, Protonix@pantoprazole, famotidine
b|home|-|tab|20 mg;40 mg|esomeprazole, Nexium@esomeprazole, Prilosec@omeprazole
s|home|-|tab|50 mcg;75 µg;100 mcg|levothyroxine
b|home|-|tab|88 mcg;112 µg|Synthroid@levothyroxine
s|home|-|tab|1 mg;2.5 mg;5 mg|warfarin
a|home|-|tab|2 mg;5 mg;7.5 mg|Coumadin@warfarin
b|home|-|tab|2.5 mg;5 mg|apixaban, Eliquis@apixaban
b|home|-|tab|15 mg;20 mg|rivaroxaban, Xarelto@rivaroxaban
a|home|-|tab|100 mg;300 mg|allopurinol
a|home|-|tab|100 mg|docusate, Colace@docusate
b|home|-|tab|0.4 mg;0.8 mg|tamsulosin, Flomax@tamsulosin
b|home|-|tab|5 mg|finasteride
b|home|-|tab|8.6 mg;2 tabs|senna
a|home|-|tab|1 tab;one tablet|multivitamin, calcium carbonate, ferrous sulfate
b|home|renal|tab|800 mg;1600 mg|sevelamer
b|home|renal|tab|650 mg;1300 mg|sodium bicarbonate
b|home|-|tab|10 mEq;20 mEq|potassium chloride
b|home|-|tab|1 mg;400 µg|folic acid
a|home|renal|tab|667 mg;2 caps|calcium acetate
a|home|-|tab|20 mEq;40 mEq|K-Dur
b|home|breast|tab|1 mg|anastrozole
b|home|breast|tab|2.5 mg|letrozole
a|home|breast|tab|20 mg|tamoxifen
a|home|joints|tab|7.5 mg;15 mg|methotrexate
s|abx|infection|inj|1 g;2 g|ceftriaxone
s|abx|infection|inj|1 g;1.25 g;750 mg|vancomycin
a|abx|infection|inj|250 mg;500 mg|azithromycin, levofloxacin, metronidazole, Levaquin@levofloxacin
b|abx|infection|inj|1 g;2 g|cefepime, meropenem, cefazolin
b|abx|infection|inj|3.375 g;4.5 g|Zosyn, piperacillin-tazobactam@Zosyn
b|abx|infection|tab|100 mg|doxycycline
b|abx|infection|tab|500/125 mg;875 mg|Augmentin
b|abx|infection|tab|250 mg;500 mg|ciprofloxacin, Cipro@ciprofloxacin
b|abx|infection|tab|1 DS tab;160/800 mg|Bactrim
b|abx|infection|tab|600 mg|linezolid
s|prn|-|tab|325 mg;650 mg;1000 mg|acetaminophen
a|prn|-|tab|500 mg;650 mg|Tylenol@acetaminophen
a|prn|-|tab|1-2 tabs;5/325 mg|Percocet
b|prn|-|tab|400 mg;600 mg|ibuprofen, Motrin@ibuprofen
b|prn|-|tab|5/325 mg;½ tab|Norco, Vicodin
b|prn|-|tab|250 mg;500 mg|naproxen
s|prn|-|inj|4 mg;8 mg|ondansetron
a|prn|-|inj|2 mg;4 mg|morphine
a|home|eye|drop|1 drop;2 drops|timolol
b|home|vertigo|tab|12.5 mg;25 mg|meclizine
b|home|tb|tab|300 mg|isoniazid
b|home|hcv|tab|400 mg|sofosbuvir
b|acute|-|tab|6 mg|dexamethasone
a|acute|-|tab|75 mg|oseltamivir
a|prn|-|inj|0.5 mg;1 mg|lorazepam, Ativan@lorazepam
a|prn|-|tab|5 mg;5-10 mg|oxycodone
b|prn|-|inj|0.2 mg;0.5 mg;1 mg|Dilaudid, hydromorphone@Dilaudid
b|prn|-|inj|4 mg;8 mg|Zofran@ondansetron
b|prn|-|inj|12.5 mg;25 mg|promethazine
b|prn|-|inj|2.5 mg;5 mg|haloperidol
b|prn|-|inj|15 mg;30 mg|ketorolac, Toradol@ketorolac
b|prn|-|inj|25-50 mcg;50 µg|fentanyl
b|prn|-|inj|2-4 mg;4 mg|morphine sulfate@morphine
s|home|respiratory|tab|40 mg;60 mg|prednisone
b|acute|respiratory|inj|125 mg;60 mg|methylprednisolone, Solu-Medrol@methylprednisolone
s|drip|-|drip|12 units/kg/hr;18 units/kg/hr;1000 units/hr|heparin
a|drip|-|drip|0.05 mcg/kg/min;0.1 mcg/kg/min;8 mcg/min|norepinephrine, Levophed@norepinephrine
a|drip|-|drip|5 mg/hr;10 mg/hr|diltiazem
b|drip|-|drip|2.5 µg/kg/min;5 mcg/kg/min|dobutamine, dopamine
b|drip|-|drip|0.25 mcg/kg/min;0.5 mcg/kg/min|milrinone
b|drip|-|drip|20 mcg/kg/min;35 mcg/kg/min|propofol
b|drip|-|drip|0.4 mcg/kg/hr;0.7 mcg/kg/hr|dexmedetomidine, Precedex@dexmedetomidine
b|drip|-|drip|0.5 mg/min;1 mg/min|amiodarone
s|alg|-|tab|-|penicillin, sulfa
a|alg|-|tab|-|codeine, penicillins, Sulfa drugs@sulfa
b|alg|-|tab|-|cephalosporins, Keflex, erythromycin, Biaxin, sulfonamides@sulfa
s|cls|-|tab|-|diuretics, antibiotics
a|cls|-|tab|-|beta blockers, statins, opioids, steroids, IV antibiotics@antibiotics
b|cls|-|tab|-|NSAIDs, anticoagulants, SSRIs, ACE inhibitors, bronchodilators, pressors, benzodiazepines
b|cls|-|tab|-|water pills@diuretics
"""

# what is given for a problem concept; others get any drug that names their label
TREATMENTS = """
hyperlipidemia|atorvastatin, simvastatin, pravastatin, rosuvastatin, ezetimibe
hypothyroidism|levothyroxine
GERD|omeprazole, pantoprazole, famotidine, esomeprazole
atrial fibrillation|warfarin, metoprolol, apixaban, rivaroxaban
atrial flutter|warfarin, metoprolol, apixaban
gout|allopurinol
BPH|tamsulosin, finasteride
cirrhosis|spironolactone, furosemide
osteoporosis|calcium carbonate
osteoarthritis|acetaminophen, naproxen, ibuprofen
spinal stenosis|gabapentin, naproxen, Norco
peripheral vascular disease|aspirin, clopidogrel
iron deficiency anemia|ferrous sulfate
ulcerative colitis|prednisone
Crohn's disease|prednisone, methotrexate
rheumatoid arthritis|methotrexate, prednisone
psoriasis|methotrexate
Sjögren's syndrome|prednisone
Ménière's disease|meclizine
glaucoma|timolol
seizure disorder|levetiracetam, phenytoin, lamotrigine, carbamazepine
dementia|donepezil, memantine
Alzheimer's disease|donepezil, memantine
Parkinson's disease|Sinemet, donepezil
migraine|topiramate, naproxen, acetaminophen
multiple sclerosis|gabapentin
myasthenia gravis|prednisone
stroke|aspirin, clopidogrel, atorvastatin
bipolar disorder|quetiapine, lamotrigine, trazodone
schizophrenia|quetiapine, haloperidol
alcohol use disorder|folic acid, multivitamin
opioid dependence|clonidine
diabetic neuropathy|gabapentin
diabetic retinopathy|insulin glargine, metformin
breast cancer|tamoxifen, anastrozole, letrozole
ESRD|calcium acetate, sevelamer
prior MI|aspirin, metoprolol, atorvastatin
latent tuberculosis|isoniazid
hepatitis C|sofosbuvir
chronic osteomyelitis|levofloxacin, vancomycin
COVID-19|dexamethasone
influenza|oseltamivir
NSTEMI|heparin, aspirin, clopidogrel, ticagrelor
STEMI|heparin, aspirin, ticagrelor
cardiogenic shock|dobutamine, milrinone, norepinephrine
sepsis|vancomycin, ceftriaxone, cefepime, meropenem, Zosyn
TIA|aspirin, clopidogrel
acute ischemic stroke|aspirin, clopidogrel, atorvastatin
status epilepticus|lorazepam, levetiracetam, phenytoin
Guillain-Barré syndrome|gabapentin
pulmonary embolism|heparin, warfarin, apixaban, rivaroxaban
deep vein thrombosis|heparin, warfarin, apixaban, rivaroxaban
GI bleed|pantoprazole, esomeprazole
C. diff colitis|vancomycin, metronidazole
acute pancreatitis|morphine, Dilaudid, ondansetron
hip fracture|morphine, oxycodone, acetaminophen
small bowel obstruction|ondansetron, morphine
alcohol withdrawal|lorazepam
acute cholecystitis|Zosyn, ceftriaxone, metronidazole
diverticulitis|metronidazole, ciprofloxacin, Zosyn
hyperkalemia|furosemide, sodium bicarbonate
toxic encephalopathy|haloperidol
mesenteric ischemia|heparin
chest pain|nitroglycerin, morphine, aspirin
abdominal pain|morphine, acetaminophen, Dilaudid
headache|acetaminophen, ibuprofen
fever|acetaminophen, ibuprofen
nausea|ondansetron, promethazine
vomiting|ondansetron, promethazine
dyspnea|albuterol, furosemide
back pain|acetaminophen, Percocet, ibuprofen, Norco
flank pain|ketorolac, morphine
myalgias|acetaminophen, naproxen
sore throat|acetaminophen
constipation|docusate, senna
insomnia|trazodone
chills|acetaminophen
epigastric discomfort|famotidine, esomeprazole
"""
