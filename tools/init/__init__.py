"""make init: from one folder of pictures and the minutes that there are to a params.yaml.

To read, in this order: `look` finds the facts of the pictures, `timing` what a step costs here, `planning`
takes the largest run that the minutes allow, by the numbers of `recipes` and the `forecast`, `choose` makes
settings of it, `write` shows and writes the difference. Planning, forecast and choice are pure functions: the
same facts and costs give the same file.
"""
