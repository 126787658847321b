"""Which character separates the cells of a text table."""

SEPARATORS = (",", ";", "\t")


def sniff_separator(text: str, suffix: str = ".csv") -> str:
    r"""Return the separator that the header line has most often outside of quotation marks.

    If there is none, or several equally often, a `.tsv` has tabs and another file commas.

    Example:
        >>> [sniff_separator(line) for line in ('id;"a,b,c";label', "id\tlabel", "id")]
        [';', '\t', ',']
    """
    header = next((line for line in text.splitlines() if line.strip()), "")
    bare = "".join(header.split('"')[::2])
    default = "\t" if suffix.lower() == ".tsv" else ","
    return max(SEPARATORS, key=lambda separator: (bare.count(separator), separator == default))
