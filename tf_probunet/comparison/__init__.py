"""Several models trained and measured alike, and a page about them: `probunet compare`.

`plan.py` reads what is compared (`entries.py`), `compare.py` trains and records what is missing (`state.py` says what
that is, `records.py` and `pictures.py` what is kept), `page.py` makes the page out of the records alone: its numbers
(`tables.py`), words (`text.py`) and figures (`figures.py`, drawn by `plots.py` and `sheet.py`).
"""
