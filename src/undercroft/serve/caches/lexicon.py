"""The words by which `sense` tells two questions apart, or sees that they ask the same.

English. Words in another language are compared as they are written, so that what is not known here
costs hits and never a wrong answer.
"""

from __future__ import annotations

from typing import Final

#: Words that carry no subject of their own.
LIGHT: Final = frozenset(
    "a an the this that these those there it its i me my we our us you your one some any of do "
    "does "
    "did done doing is are was were be been being am will would shall should can could may might "
    "must have has had having what which who whom whose when where why how whether and or so as "
    "please tell know want like about explain describe define mean meaning meant means way "
    "possible best happen happens happened happening take place took come reason cause causes also "
    "just exactly really actually then them they their he she his her if once by for to in on at "
    "with from into onto step steps say says much many every each all allowed able it's what's "
    "'s s used using use let lets give given show aged".split()
)

NEGATIONS: Final = frozenset(
    "not no never none neither nor cannot without nothing nobody nowhere except unless unable fail "
    "fails failed failing impossible lack lacks lacking unsuccessful".split()
)

QUANTIFIERS: Final = {
    "all": "all", "every": "all", "each": "all", "everything": "all", "everybody": "all",
    "everyone": "all", "most": "most", "few": "few", "only": "only", "both": "both", "either": "or",
    "or": "or", "and": "and",
}  # fmt: skip

#: Of verbs that do not end in -ed.
PARTICIPLES: Final = (
    "built bought brought caught chosen cut done drawn driven eaten fed felt forgotten found given "
    "held hidden hit hurt kept known led left lent lost made meant met paid put read ridden "
    "run said "
    "seen sent set shown shut sold spoken stolen sung taken taught thought thrown told understood "
    "won worn written"
).split()

PREPOSITIONS: Final = frozenset(
    "to into onto from than before after over under above below versus against in inside within on "
    "at of for with without through between by until till during beside near next since across "
    "when if "
    "while once".split()
)
SAME_PREPOSITION: Final = {
    "into": "to", "onto": "to", "inside": "in", "within": "in", "till": "until", "once": "when",
    "if": "when", "while": "when", "through": "by", "without": "with",
}  # fmt: skip

#: Where two things are named as equals, their order says nothing.
SYMMETRIC: Final = frozenset(
    "difference differences differ differs different between compare compared comparison versus vs "
    "both common same similar equal".split()
)

#: A question with the one word and a question with the other are opposite. A group with ``|``
#: has several words on a side.
OPPOSITES: Final = tuple(
    tuple(frozenset(side.split("|")) for side in pair.split(":"))
    for pair in (
        "enable:disable hide:show show:hide on:off open:close|shut open:closed "
        "start|begin|launch:stop|end|finish|quit "
        "add|append|insert:remove|delete|drop increase|raise|grow:decrease|reduce|lower|shrink "
        "up:down in:out before:after|following first:last|second|third largest|biggest|greatest"
        "|maximum|maximal|longest|highest|most|max:smallest|least|minimum|minimal|shortest|lowest"
        "|fewest|min large|big|great:small|little more:less|fewer long:short high:low fast|faster"
        "|quick|quicker|fastest:slow|slower|slowest early|earlier:late|later old|older|oldest:new"
        "|newer|newest|latest encode:decode encrypt:decrypt compress:decompress|extract "
        "import:export read|reading:write|writing upload:download install:uninstall lock:unlock "
        "push:pull push:pop send:receive buy:sell lend:borrow allow|permit|include|cover|accept"
        "|approve:forbid|deny|exclude|refuse|reject|prevent|prohibit true:false yes:no "
        "left:right top:bottom inside:outside above|over:below|under ascending:descending "
        "public:private local:remote|global|universal client:server parent:child input:output "
        "internal:external static:dynamic mutable:immutable ordered:unordered sorted:unsorted "
        "signed:unsigned known:unknown safe:unsafe|dangerous legal:illegal valid:invalid "
        "possible:impossible sync|synchronous:async|asynchronous attach|connect|join:detach"
        "|disconnect|leave|split mount:unmount mute:unmute upgrade:downgrade morning:evening"
        "|afternoon|night|noon day:night today:yesterday|tomorrow yesterday:tomorrow "
        "year|yearly|annual:month|monthly|week|weekly|day|daily|quarter|quarterly|hour|hourly "
        "month|monthly:week|weekly|day|daily|quarter|quarterly|hour|hourly week|weekly:day|daily"
        "|hour|hourly win:lose success:failure pass:fail present|exist|exists:missing|absent "
        "full:empty hot|warm:cold|cool boiling|boil:freezing|freeze|melting|melt black:white "
        "red:green|blue|yellow green:blue|yellow horizontal:vertical north:south east:west "
        "borrow:repay arrive:depart arrival:departure load:save|unload save:restore make:undo "
        "positive:negative even:odd inner:outer always:never everything:nothing man:woman "
        "male:female buyer:seller employer:employee light:dark heavy:light same"
        ":different must|should:may|might|can|could|allowed|permitted|possible|optional "
        "all|every|each:some|any|most|few"
    ).split()
)

#: Words that may stand for each other in a question, by their stems.
SYNONYMS: Final = tuple(
    frozenset(group.split("|"))
    for group in (
        "remove|delete|erase make|create|build|construct|produce get|obtain|fetch|retrieve|receive "
        "change|modify|alter|edit|update|adjust fix|repair|mend|correct begin|start|launch "
        "end|finish|stop convert|turn|transform|change big|large|huge biggest|largest|greatest "
        "small|little smallest|least|tiniest maximum|max|maximal|greatest|highest minimum|min"
        "|minimal|lowest undo|revert increase|raise decrease|reduce|lower find|locate|look "
        "cost|price|fee author|write|wrote|written|authored parse|parser run|execute|executed "
        "quick|fast choose|select|pick buy|purchase allow|permit "
        "need|require|required stored|kept|saved|hold|held doc|docs|documentation|documents "
        "argument|parameter|param arguments|parameters|params dir|directory|folder directories"
        "|folders send|sent free|gratis car|automobile answer|reply contain|hold"
        "|include dict|dictionary dicts|dictionaries str|string strs|strings int|integer ints"
        "|integers bool|boolean regex|regexp info|information photo|picture|image begin|began "
        "near|beside|next cancel|cancelled|canceled exit|quit leave|holiday|vacation"
    ).split()
)

#: Verbs in two words that are one.
PHRASES: Final = (
    (r"\b(?:have|has|had|need|needs) to (?=[a-z])", "must "),
    (r"\b(?:turn|switch)(?:ed|ing)? ((?:the |my |a )?\w+) (on|off)\b", r"turn \2 \1"),
    (r"\b(?:turn|switch)(?:ed|ing)? on\b", "enable"),
    (r"\b(?:turn|switch)(?:ed|ing)? off\b", "disable"),
    (r"\bturn(?:ed|ing)? up\b", "raise"),
    (r"\bturn(?:ed|ing)? down\b", "lower"),
    (r"\bfree of charge\b", "free"),
    (r"\b(?:at )?(?:what|which) time\b", "when"),
    (r"\b(?:in )?(?:what|which) year\b", "when"),
    (r"\b(?:on )?(?:what|which) (?:day|date)\b", "when"),
    (r"\bhow much (?=(?:is|are|was|were|does|do|did)\b)", "what "),
)

IRREGULAR: Final = dict(
    pair.split(":")
    for pair in (
        "eaten:eat ate:eat written:write wrote:write built:build sent:send kept:keep held:hold "
        "ran:run taken:take took:take known:know shown:show chosen:choose chose:choose found:find "
        "lost:lose made:make paid:pay sold:sell bought:buy began:begin begun:begin broken:break "
        "broke:break spoken:speak driven:drive gone:go went:go came:come met:meet "
        "read:read said:say seen:see saw:see stolen:steal thrown:throw threw:throw hidden:hide "
        "grown:grow grew:grow drawn:draw drew:draw fell:fall fallen:fall got:get gotten:get "
        "children:child people:person men:man women:woman indices:index indexes:index data:datum"
    ).split()
)

NUMBER_WORDS: Final = {
    word: str(value)
    for value, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
        "fifteen sixteen seventeen eighteen nineteen twenty".split()
    )
} | {"thirty": "30", "fifty": "50", "hundred": "100", "thousand": "1000", "million": "1000000",
     "half": "0.5", "double": "2", "twice": "2", "third": "3", "fourth": "4", "fifth": "5",
     "dozen": "12"}  # fmt: skip

UNITS: Final = {
    word: names.split("|")[0]
    for names in (
        "s|sec|secs|second|seconds ms|millisecond|milliseconds min|mins|minute|minutes "
        "h|hr|hrs|hour|hours d|day|days week|weeks month|months y|yr|yrs|year|years b|byte|bytes "
        "kb|kib|kilobyte|kilobytes mb|mib|megabyte|megabytes gb|gib|gigabyte|gigabytes "
        "tb|tib|terabyte|terabytes mm|millimetre|millimetres cm|centimetre|centimetres "
        "m|metre|metres|meter|meters km|kilometre|kilometres|kilometer|kilometers mile|miles "
        "g|gram|grams kg|kilo|kilos|kilogram|kilograms l|litre|litres|liter|liters "
        "%|percent|per_cent euro|euros|€ dollar|dollars|$ pound|pounds|£ °c|celsius °f|fahrenheit "
        "bit|bits px|pixel|pixels am pm"
    ).split()
    for word in names.split("|")
}

DATES: Final = {
    word: names.split("|")[0]
    for names in (
        "january|jan february|feb march april|apr may_month june|jun july|jul august|aug "
        "september|sept|sep october|oct november|nov december|dec monday|mon|mondays "
        "tuesday|tue|tuesdays wednesday|wed|wednesdays thursday|thu|thursdays friday|fri|fridays "
        "saturday|sat|saturdays sunday|sun|sundays today yesterday tomorrow tonight noon midnight "
        "spring summer autumn winter weekday|weekdays weekend|weekends"
    ).split()
    for word in names.split("|")
}
