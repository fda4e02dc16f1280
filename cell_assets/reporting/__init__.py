"""Figures, tables and HTML from results that others computed: nothing here makes a number."""
