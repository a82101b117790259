"""make init: from one folder of pictures and the minutes that there are to a params.yaml.

To read, in this order: `look` finds the facts of the pictures, `timing` what a step costs here, `choose`
makes settings of both by the numbers of `recipes`, `forecast` says how long the run will take, `write` shows
and writes the difference. `choose` and `forecast` are pure: the same facts and costs give the same file.
"""
