"""Text that breaks tokenizers, as a hypothesis strategy."""

from hypothesis import strategies as st

KINDS = ("wordpiece", "bytebpe", "unigram")
PIECES = (
    *("fever", "5mg", "120/80", "___", "[**Name**]", "&amp;", "-", "   "),
    *("cafe\u0301", "\u0301", "e\u0323\u0301", "x\ufe0f", "1\ufe0f\u20e3"),  # combining marks, variation selectors
    *("\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7", "\U0001f44d\U0001f3fd"),
    *("\u05d7\u05d5\u05dd", "\u202e", "\u0633\u0631\u0641\u0647", "\u0645\u06cc\u200c\u062e"),  # right to left
    *("\u00a0", "\u200b", "\u00ad", "\u200d", "\ufeff", "\u2009"),  # spaces and joiners of no or odd width
    *("\r\n", "\n", "\t", "\x0b", "\x0c", "\x85", "\u2028", "\x00"),
    *("\ufb01", "\u00bd", "\u2122", "\u2460", "\u0130", "\u00df"),  # grow when normalized or lower-cased
    *("\u60a3\u8005", "\u0e44\u0e02\u0e49", "\ue000", "\ufffe", "\uffff"),
    *("[MASK]", "[SEP]", "[CLS]", "[UNK]", "[PAD]", "\uff3b\uff2d\uff21\uff33\uff2b\uff3d"),
    *("<s>", "</s>", "<mask>", "<pad>", "##", "\u0120", "\u2581"),
)
NASTY = st.lists(st.one_of(st.sampled_from(PIECES), st.just(" "), st.characters(codec="utf-8")), max_size=14).map(
    "".join
)
