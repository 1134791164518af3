"""The tests and the anatomy of the synthetic notes, in the tiers of `problems.py`."""

# tier | name | lowest | highest | digits after the point | unit
LABS = """
s|WBC|32|198|1|K/µL
s|creatinine|6|38|1|mg/dL
s|hemoglobin|68|161|1|g/dL
s|troponin|1|240|2|ng/mL
s|potassium|29|61|1|mEq/L
s|sodium|124|149|0|mEq/L
a|BUN|8|74|0|mg/dL
a|Hct|221|469|1|%
a|glucose|58|412|0|mg/dL
a|INR|9|47|1|ratio
a|BNP|88|2900|0|pg/mL
a|ALT|11|310|0|U/L
a|AST|14|340|0|U/L
a|lactate|7|58|1|mmol/L
a|platelets|41|433|0|K/uL
a|hemoglobin A1c|51|121|1|%
a|TSH|2|98|1|mIU/L
a|lipase|14|910|0|U/L
a|digoxin level|4|23|1|ng/mL
b|white count|31|224|1|x10³/µL
b|Cr|6|41|1|mg/dL
b|Hgb|66|158|1|g/dL
b|HbA1c|52|118|1|%
b|NT-proBNP|120|9800|0|pg/mL
b|procalcitonin|1|96|1|ng/mL
b|alkaline phosphatase|38|410|0|U/L
b|total bilirubin|2|87|1|mg/dL
b|magnesium|12|29|1|mg/dL
b|albumin|19|46|1|g/dL
b|ESR|4|104|0|mm/hr
b|CRP|3|212|0|mg/L
b|ferritin|8|940|0|ng/mL
b|PT|112|318|1|sec
b|eGFR|14|96|0|mL/min
b|vancomycin trough|62|244|1|µg/mL
b|fingerstick glucose|61|388|0|mg/dL
b|D-dimer|180|4100|0|ng/mL
"""

# tier | kind | region | surfaces
TESTS = """
s|img|chest|CT, chest x-ray@CXR
a|img|chest|CXR, CTA@CT, portable chest radiograph@CXR
b|img|chest|chest film@CXR, CT angiogram@CT, V/Q scan, high-resolution CT@CT
s|img|abdomen|CT, ultrasound
a|img|abdomen|KUB, RUQ ultrasound@ultrasound, MRCP
b|img|abdomen|abdominal plain film@KUB, sonogram@ultrasound, HIDA scan, MR enterography
s|img|head|MRI, CT
a|img|head|head CT@CT, MRA
b|img|head|noncontrast CT@CT, MR angiography@MRA, diffusion-weighted MRI@MRI
s|img|limb|MRI, x-ray
a|img|limb|plain films@x-ray, bone scan
b|img|limb|three-view radiographs@x-ray, DEXA scan, MR arthrogram@MRI
s|proc|heart|EKG, echocardiogram
s|proc|other|colonoscopy
a|proc|heart|stress test, TTE@echocardiogram
a|proc|other|cardiac catheterization, EGD, pulmonary function tests, EEG
b|proc|heart|ECG@EKG, nuclear stress imaging@stress test, echo@echocardiogram, 12-lead@EKG
b|proc|other|coronary angiography, upper endoscopy@EGD, spirometry, lumbar puncture, carotid duplex, bronchoscopy
s|cul|growth|blood cultures
s|cul|other|urinalysis
a|cul|growth|urine culture, sputum culture
a|cul|other|UA@urinalysis, rapid flu swab
b|cul|growth|BCx@blood cultures, wound culture, blood Cx@blood cultures
b|cul|other|stool studies, respiratory viral panel, urine Legionella antigen, Gram stain
"""

# tier | region | surfaces
ANATOMY = """
s|chest|right lower lobe, left lung base
a|chest|right upper lobe, lingula, left hemithorax, left upper lobe
b|chest|RLL, LUL, right middle lobe, right apex, perihilar regions
s|chest organ|mediastinum, heart
a|chest organ|aorta, trachea
b|chest organ|aortic arch, pleura, left ventricle, RA, thoracic aorta, SVC
s|abdomen|liver, pancreas
a|abdomen|spleen, left kidney
b|abdomen|right kidney, hepatic dome, pancreatic tail, caudate lobe
s|abdomen organ|gallbladder
a|abdomen organ|sigmoid colon, common bile duct, bladder
b|abdomen organ|terminal ileum, duodenum, porta hepatis, descending colon, CBD, left adrenal gland
s|head|left frontal lobe, cerebellum
a|head|right temporal lobe, posterior fossa
b|head|left MCA territory, pons, right parietal lobe, corpus callosum, thalamus
s|head organ|basal ganglia
a|head organ|ventricular system
b|head organ|sella, left orbit, paranasal sinuses
s|limb|left hip, right knee
a|limb|right ankle, distal radius, left shoulder, femoral neck, lumbar spine
b|limb|proximal humerus, L4 vertebral body, left wrist, great toe, right tibia, sacrum
s|limb organ|pelvis
a|limb organ|patella
b|limb organ|fibular head, Achilles tendon
s|skin|left leg, abdomen
a|skin|right foot, left forearm, sacral area
b|skin|right calf, left heel, coccyx, upper arm, trunk, perineum
s|lung|lung bases
a|lung|right lung, lungs
b|lung|both lung fields, left chest
s|belly|abdomen, epigastrium
a|belly|RLQ, right flank
b|belly|RUQ, L flank, suprapubic area, left groin
"""

# the labs of a group, for `{lab:group}`
LAB_GROUPS = """
electrolyte|potassium, magnesium
red|hemoglobin, Hct, Hgb
kidney|creatinine, BUN, Cr
inflammation|WBC, lactate, white count, procalcitonin, CRP, ESR
"""
