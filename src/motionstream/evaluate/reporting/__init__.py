"""JSON files of figures → tables, one page, one Markdown file, beside the paper's."""
