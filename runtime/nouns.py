"""Which words of an English caption name things: a rule with short lists of words, and nothing to download.

1. Words are runs of letters, digits, apostrophes and hyphens; any other mark ends a phrase.
2. A phrase is a run of words none of which is in CLOSED (articles, pronouns, prepositions, conjunctions, auxiliaries,
   common adverbs, numbers) or a verb; "next to", "in front of", "left of" and their like (RELATIONS) end it as well.
3. A word is a verb if it is an inflected form of a word in VERBS, or ends in -ing or -ed, is not in NOT_VERBS, and
   stands where verbs do: behind a phrase or an auxiliary; -ing also before an article, -ed only before a closed word.
4. "picture of", "group of" and their like (MEASURES) name no thing, nor does an adjective alone (ADJECTIVES).

What it gets wrong: verbs that are not listed ("a dog chews a bone"), words that are noun and verb ("a man fishes"),
adjectives that stand alone ("the sky is overcast"), and all other languages: give spans there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ARTICLES = _words("""
    a an the this that these those some any each every no all both another other its his her their my our your
""")
NUMBERS = _words("""
    one two three four five six seven eight nine ten eleven twelve dozen several many few various multiple
""")
PRONOUNS = _words("""
    i you he she it we they me him them us itself himself herself themselves who whom whose which what there here
    something someone nothing
""")
PREPOSITIONS = _words("""
    of in on at to from with without by for as into onto over under above below beneath beside besides between
    among behind near inside outside through across around along against toward towards upon off up down out past
    beyond within amid atop before after during while
""")
CONJUNCTIONS = _words("and or but nor so yet if because when where than then also plus")
AUXILIARIES = _words("""
    is are was were be been being am has have had having do does did can could will would shall should may might
    must get gets
""")
ADVERBS = _words("""
    not very too just only together apart away back forward partly slightly almost quite rather still now
""")
CLOSED = ARTICLES | NUMBERS | PRONOUNS | PREPOSITIONS | CONJUNCTIONS | AUXILIARIES | ADVERBS
RELATIONS = re.compile(
    r"\b(next to|close to|far from|adjacent to|instead of|because of|(?:to|on|at) the (?:left|right|top|bottom)|"
    r"(?:(?:in|at|on) )?(?:the )?(?:left|right|front|back|top|bottom|side|middle|center|centre|edge|corner|rear) of)\b",
    re.IGNORECASE,
)
MEASURES = _words("""
    picture photo photograph image painting drawing view shot scene group pair bunch couple lot lots set kind type
    piece row pile collection variety crowd
""")
ADJECTIVES = _words("""
    red green blue yellow orange purple pink brown black white grey gray cyan magenta golden big large small
    little tiny huge tall short long old young new bright dark empty full open closed striped spotted checked
    dotted plain front left right upper lower top bottom visible present
""")
VERBS = _words("""
    sit stand lie lay hold ride wear carry walk run jump play eat drink look watch read write talk smile sleep
    rest lean hang park fly swim surf ski skate throw catch kick hit swing cut cook serve pull push drive sail
    float wait face touch cover fill contain show overlap cross surround follow chase bite lick graze point reach
    pose gather use make take put see enjoy attach stack mount
""")
IRREGULAR = _words("""
    sat stood lay lain held rode ridden wore worn ran ate eaten drank slept hung flew flown swam threw thrown
    caught drove driven took taken made seen shown lying
""")
NOT_VERBS = _words("""
    ring king string spring wing thing building painting ceiling wedding evening morning clothing railing awning
    swing earring bed sled seed weed reed red shed steed bread
""")
WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


class _Word(NamedTuple):
    text: str
    start: int
    end: int


def noun_spans(caption: str) -> tuple[tuple[int, int], ...]:
    """The characters (start, end) of each phrase that names something, in order, without its article."""
    bounded = RELATIONS.sub(lambda found: "|" * len(found.group()), caption)
    spans = (span for run in _runs(bounded) for span in _phrases(run))
    return tuple(spans)


def _runs(text: str) -> Iterator[list[_Word]]:
    """Words between marks of punctuation."""
    run: list[_Word] = []
    for found in WORD.finditer(text):
        if run and text[run[-1].end : found.start()].strip():
            yield run
            run = []
        run.append(_Word(found.group().lower(), *found.span()))
    yield run


def _phrases(run: list[_Word]) -> Iterator[tuple[int, int]]:
    phrase: list[_Word] = []
    auxiliary = False
    for at, word in enumerate(run):
        after = run[at + 1].text if at + 1 < len(run) else ""
        if word.text not in CLOSED and not _verb(word.text, after, bool(phrase), auxiliary):
            phrase.append(word)
            continue
        yield from _named(phrase, word.text)
        phrase, auxiliary = [], word.text in AUXILIARIES or (auxiliary and word.text in ADVERBS)
    yield from _named(phrase, "")


def _named(phrase: list[_Word], after: str) -> Iterator[tuple[int, int]]:
    measured = after == "of" and phrase and phrase[-1].text in MEASURES
    if phrase and not measured and any(word.text not in ADJECTIVES for word in phrase):
        yield phrase[0].start, phrase[-1].end


def _verb(word: str, after: str, phrase: bool, auxiliary: bool) -> bool:
    if word in NOT_VERBS:
        return False
    if not phrase and not auxiliary:
        return word.endswith("ing") and after in ARTICLES and bool(_stem(word))
    if word in IRREGULAR or _stem(word) or word.endswith("ing") and len(word) > 4:
        return True
    return word.endswith("ed") and len(word) > 4 and (auxiliary or not after or after in CLOSED)


def _stem(word: str) -> str:
    """The word without the ending of an inflected verb; empty if it has none: "watch" after "wrist" is no verb."""
    for ending, base in (("ies", "y"), ("es", ""), ("s", ""), ("ed", ""), ("ied", "y"), ("ing", "")):
        if word.endswith(ending) and len(word) > len(ending) + 1:
            stem = word[: -len(ending)] + base
            for form in (stem, stem + "e", stem[:-1]):  # riding, running
                if form in VERBS:
                    return form
    return ""
