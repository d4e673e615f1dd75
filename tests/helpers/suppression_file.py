"""Files of suppressions."""


def lines_of(tmp_path, *lines, name="known.supp"):
    """The path of a file with these lines."""
    path = tmp_path / name
    path.write_text("".join(line + "\n" for line in lines))
    return str(path)
