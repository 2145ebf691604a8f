"""Copies are found, and only copies, in scripts that run from right to left or have no spaces."""

from __future__ import annotations

import random
from collections.abc import Callable

from undercroft.collect.stage import collect
from undercroft.curate.stage import curate
from undercroft.lake import read_selection
from undercroft.project import Project

TEXTS = {
    "ar": "كانت المكتبة في وسط المدينة القديمة مكانا يجتمع فيه الناس كل مساء لقراءة الكتب و"
    "الحديث عن التاريخ والعلوم والأدب وكانوا يشربون الشاي ويستمعون الى القصص التي يرو"
    "يها الشيوخ عن الأيام",
    "he": "הספרייה במרכז העיר העתיקה הייתה מקום שבו נפגשו אנשים בכל ערב כדי לקרוא ספרים ולד"
    "בר על היסטוריה מדע וספרות והם שתו תה והקשיבו לסיפורים שסיפרו הזקנים על הימים שעב"
    "רו ועל מסעות",
    "zh": "古城中心的图书馆是人们每天晚上聚会的地方他们在那里读书谈论历史科学和文学喝茶听老"
    "人讲述过去的日子和遥远的旅行图书馆的墙壁很高窗户很小但是里面总是很温暖孩子们坐在"
    "地板上听故事直到深夜",
    "ja": "古い町の中心にある図書館は人々が毎晩集まって本を読み歴史や科学や文学について話す"
    "場所でしたそこではお茶を飲みながら老人たちが昔の日々や遠い旅について語るのを聞き"
    "ました子供たちは床に座って",
    "th": "ห้องสมุดใจกลางเมืองเก่าเป็นสถานที่ที่ผู้คนมาพบกันทุกเย็นเพื่ออ่านหนังส"
    "ือและพูดคุยเกี่ยวกับประวัติศาสตร์วิทยาศาสตร์และวรรณกรรมพวกเขาดื่มชาและ"
    "ฟังเรื่องราวที่ผู้เฒ่าเล่า",
}


def test_of_copies_one_stays_and_others_stay_too(project: Callable[..., Project]) -> None:
    texts: dict[str, str] = {}
    for code, text in TEXTS.items():
        joint = " " if " " in text else ""
        parts = text.split() if joint else list(text)
        random.Random(7).shuffle(parts)
        near = f"{text} {text[:4]}"
        variants = {"first": text, "same": text, "near": near, "other": joint.join(parts)}
        texts |= {f"{code}-{name}": variant for name, variant in variants.items()}
    opened = project(texts, min_chars=20)
    (raw,) = collect(opened)
    (dataset,) = curate(opened, raw=raw)
    rows = opened.lake.table("documents").read(["id", "uri", "language"]).to_pylist()
    named = {row["id"]: (row["uri"].partition("#")[2], row["language"]) for row in rows}
    selection = read_selection(opened.lake, dataset).to_pylist()
    rules = {named[row["id"]][0]: row["rule"] for row in selection}
    for code in TEXTS:
        assert rules[f"{code}-other"] == "", code
        copies = sorted(rules[f"{code}-{name}"] for name in ("first", "same", "near"))
        assert copies == ["", "exact_duplicate", "near_duplicate"], code
        assert (f"{code}-first", code) in named.values()
