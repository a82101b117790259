"""Report: one HTML file that says what the networks get wrong, why, and how sure they are.

Enters: the files that the stages before wrote, the pictures. Leaves: plots/report.html. To touch: a section
is a part of page.html and a function of `sections`; what is counted for it is in `findings`, what is drawn in
`charts`, which pictures are shown in `picks`. page.css and page.js are put into the page as they are.
shipped.yaml is params.yaml as Dojo comes with it: the page tells what differs.
"""
