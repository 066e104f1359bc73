"""JSON files of figures → tables as Markdown and on one page of HTML, beside the paper's, and the README's table.

`results` reads the files, `kinds` says which figures make which table, `report` writes all of them, `readme` the ten
that a user asks for first. `paper.csv` holds the paper's own figures (arXiv 2511.01266, version 5): measured by its
authors with Wan models, none of them reproduced here. The paper counts sinks and windows in chunks of three latents:
its "c3s1w1" is our "c3s3w3", which counts in latents.
"""
