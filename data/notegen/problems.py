"""The problems of the synthetic notes, each in a tier.

Tier `s` is shared by all splits, `a` is the train tier, `b` the test tier (see `lexicon.py`). A surface written
`SOB@dyspnea` is one way to say the concept `dyspnea`, so that no note affirms and denies the same thing
under two names.
"""

# tier | kind | note label or - | region or - | surfaces
# kinds: dx a lasting diagnosis, ac an acute one, sx a symptom, sg an examination sign,
# fi an imaging finding that needs a site, fx one that names its own
PROBLEMS = """
s|dx|diabetes|-|diabetes mellitus, type 2 diabetes@diabetes mellitus
a|dx|diabetes|-|DM2@diabetes mellitus, T2DM@diabetes mellitus, diabetes@diabetes mellitus, diabetic neuropathy, IDDM
b|dx|diabetes|-|NIDDM@diabetes mellitus, type II DM@diabetes mellitus, type 1 diabetes@IDDM, diabetic retinopathy
b|dx|diabetes|-|adult-onset diabetes@diabetes mellitus
s|dx|hypertension|-|hypertension, HTN@hypertension
a|dx|hypertension|-|essential hypertension@hypertension, HBP@hypertension
b|dx|hypertension|-|high blood pressure@hypertension, arterial hypertension@hypertension, elevated BP@hypertension
s|dx|heart_failure|-|CHF, congestive heart failure@CHF
a|dx|heart_failure|-|systolic heart failure@CHF, HFrEF@CHF, ischemic cardiomyopathy
b|dx|heart_failure|-|HFpEF@CHF, diastolic dysfunction@CHF, dilated cardiomyopathy, cardiac failure@CHF
s|ac|heart_failure|-|acute decompensated heart failure
a|ac|heart_failure|-|CHF exacerbation@acute decompensated heart failure
b|ac|heart_failure|-|flash pulmonary edema, cardiogenic shock
s|dx|coronary_disease|-|CAD, coronary artery disease@CAD
a|dx|coronary_disease|-|stable angina, prior MI
b|dx|coronary_disease|-|ischemic heart disease@CAD, triple vessel disease@CAD
s|ac|coronary_disease|-|NSTEMI
a|ac|coronary_disease|-|unstable angina, non-ST elevation MI@NSTEMI
b|ac|coronary_disease|-|STEMI, acute coronary syndrome@NSTEMI, ACS@NSTEMI
s|dx|renal|-|chronic kidney disease, CKD@chronic kidney disease
a|dx|renal|-|ESRD, CKD stage 3@chronic kidney disease, polycystic kidney disease
b|dx|renal|-|chronic renal insufficiency@chronic kidney disease, end-stage renal disease@ESRD, IgA nephropathy
b|dx|renal|-|CRI@chronic kidney disease
s|ac|renal|-|acute kidney injury, AKI@acute kidney injury
a|ac|renal|-|acute tubular necrosis
b|ac|renal|-|acute renal failure@acute kidney injury, ARF@acute kidney injury, prerenal azotemia
s|dx|respiratory|-|COPD, asthma
a|dx|respiratory|-|emphysema, obstructive sleep apnea, OSA@obstructive sleep apnea, pulmonary fibrosis
b|dx|respiratory|-|chronic bronchitis, interstitial lung disease, bronchiectasis, reactive airway disease@asthma
s|ac|respiratory|-|acute respiratory failure
a|ac|respiratory|-|COPD exacerbation, asthma exacerbation, hypercarbic respiratory failure@acute respiratory failure
b|ac|respiratory|-|AECOPD@COPD exacerbation, hypoxemic respiratory failure@acute respiratory failure
b|ac|respiratory|-|status asthmaticus@asthma exacerbation
s|ac|infection|-|pneumonia, sepsis, UTI, cellulitis
a|ac|infection|-|urinary tract infection@UTI, bacteremia, influenza, C. diff colitis, PNA@pneumonia, urosepsis
b|ac|infection|-|pyelonephritis, septic shock@sepsis, community-acquired pneumonia@pneumonia, CAP@pneumonia
b|ac|infection|-|pnuemonia@pneumonia
b|ac|infection|-|infective endocarditis, empyema, MRSA bacteremia@bacteremia, erysipelas@cellulitis, COVID-19
a|dx|infection|-|chronic osteomyelitis
b|dx|infection|-|hepatitis C, latent tuberculosis
s|dx|neurological|-|stroke, seizure disorder
a|dx|neurological|-|epilepsy@seizure disorder, Parkinson's disease, migraine, dementia
b|dx|neurological|-|CVA@stroke, multiple sclerosis, Alzheimer's disease, myasthenia gravis, MS@multiple sclerosis
a|ac|neurological|-|TIA, acute ischemic stroke
b|ac|neurological|-|transient ischemic attack@TIA, status epilepticus, Guillain-Barré syndrome
s|dx|mental_health|-|depression, anxiety
a|dx|mental_health|-|bipolar disorder, PTSD, panic disorder, alcohol use disorder
b|dx|mental_health|-|schizophrenia, major depressive disorder@depression, generalized anxiety disorder@anxiety
b|dx|mental_health|-|opioid dependence
s|dx|cancer|-|breast cancer, prostate cancer
a|dx|cancer|-|lung cancer, colon cancer, lymphoma, pancreatic adenocarcinoma
b|dx|cancer|-|renal cell carcinoma, multiple myeloma, melanoma, ovarian carcinoma, CLL, prostate CA@prostate cancer
s|dx|-|-|GERD, hyperlipidemia, hypothyroidism, atrial fibrillation
a|dx|-|-|gout, osteoarthritis, cirrhosis, osteoporosis, HLD@hyperlipidemia, BPH, AFib@atrial fibrillation
a|dx|-|-|peripheral vascular disease, iron deficiency anemia, ulcerative colitis, glaucoma
b|dx|-|-|hypercholesterolemia@hyperlipidemia, rheumatoid arthritis, Sjögren's syndrome, Ménière's disease
b|dx|-|-|Crohn's disease
b|dx|-|-|atrial flutter, benign prostatic hyperplasia@BPH, acid reflux@GERD, psoriasis, spinal stenosis
s|ac|-|-|pulmonary embolism, GI bleed
a|ac|-|-|deep vein thrombosis, acute pancreatitis, hip fracture, small bowel obstruction
a|ac|-|-|alcohol withdrawal
b|ac|-|-|DVT@deep vein thrombosis, PE@pulmonary embolism, acute cholecystitis, hyperkalemia
b|ac|-|-|upper GI hemorrhage@GI bleed
b|ac|-|-|diverticulitis, toxic encephalopathy, mesenteric ischemia
s|sx|-|-|chest pain, shortness of breath@dyspnea, nausea, fever, cough, abdominal pain, headache, dizziness
a|sx|-|-|SOB@dyspnea, vomiting, diarrhea, chills, palpitations, syncope, dysuria, back pain, fatigue, weight loss
a|sx|-|-|sore throat, constipation, leg swelling, generalized weakness, nausia@nausea, diarhea@diarrhea, insomnia
a|sx|-|-|fall
b|sx|-|-|dyspnea, DOE@dyspnea, lightheadedness@dizziness, hematuria, melena, night sweats, rigors@chills, malaise
b|sx|-|-|emesis@vomiting, pruritus, blurry vision, epigastric discomfort, orthopnea, PND, loose stools@diarrhea
b|sx|-|-|CP@chest pain
b|sx|-|-|flank pain, hemoptysis, myalgias, tinnitus, urinary retention, poor appetite, near-syncope
s|sg|-|skin|lower extremity edema@edema, rash
s|sg|-|general|tachycardia, jaundice
a|sg|-|skin|ecchymosis, excoriations, stasis dermatitis
a|sg|-|lung|crackles, expiratory wheezes, rales
a|sg|-|general|JVD, systolic murmur, scleral icterus@jaundice, guarding, ascites, tremor
b|sg|-|skin|pitting edema@edema, erythema, petechiae, purulent drainage, skin breakdown
b|sg|-|lung|rhonchi, bibasilar rales@rales, dullness to percussion
b|sg|-|general|hepatomegaly, clubbing, cyanosis, rebound tenderness, S3 gallop, asterixis, pallor, nuchal rigidity
s|fi|-|chest|consolidation, opacity
a|fi|-|chest|atelectasis, infiltrate, scarring
b|fi|-|chest|airspace disease, ground-glass opacities, subsegmental collapse@atelectasis, reticulation
s|fx|-|chest|pleural effusion, pneumothorax
a|fx|-|chest|cardiomegaly, pulmonary edema, hilar adenopathy, hiatal hernia
b|fx|-|chest|mediastinal widening, rib fracture, vascular congestion, calcified granuloma, enlarged heart@cardiomegaly
s|fi|-|abdomen|cyst, abscess
a|fi|-|abdomen|hypodense lesion, calcifications
b|fi|-|abdomen|fluid collection, enhancing mass, laceration, fat stranding
s|fx|-|abdomen|hydronephrosis, free fluid
a|fx|-|abdomen|gallstones, bowel obstruction, free air, diverticulosis, hepatic steatosis
b|fx|-|abdomen|nephrolithiasis, biliary dilatation, ileus, portal vein thrombosis, splenomegaly
b|fx|-|abdomen|cholelithiasis@gallstones
s|fi|-|head|hemorrhage, mass
a|fi|-|head|acute infarct, gliosis
b|fi|-|head|encephalomalacia, cerebral edema, restricted diffusion@acute infarct, intraparenchymal bleed@hemorrhage
s|fx|-|head|mass effect, subdural hematoma
a|fx|-|head|midline shift, hydrocephalus, sinus disease
b|fx|-|head|microvascular ischemic change, saccular aneurysm, SAH, SDH@subdural hematoma, mastoid effusion
s|fi|-|limb|fracture, soft tissue swelling
a|fi|-|limb|degenerative changes, osteopenia, bone spur
b|fi|-|limb|lytic lesion, stress reaction, cortical irregularity, bone bruise
s|fx|-|limb|dislocation, joint effusion
a|fx|-|limb|loose bodies, foreign body
b|fx|-|limb|chondrocalcinosis, avulsion injury, joint space narrowing, rotator cuff tear, subluxation@dislocation
"""

MALE_ONLY = {"prostate cancer", "BPH", "tamsulosin", "finasteride"}
FEMALE_ONLY = {"breast cancer", "ovarian carcinoma", "tamoxifen", "anastrozole", "letrozole"}
