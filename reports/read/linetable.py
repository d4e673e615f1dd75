"""Lines of code units, from co_linetable as CPython 3.11 and later write it (its InternalDocs/code_objects.md)."""

_SHORT_LAST, _ONE_LINE, _NO_COLUMN, _LONG, _NONE = 9, (10, 11, 12), 13, 14, 15


def _varint(table, at):
    """Six bits a byte, least significant first; bit 6 set: more follow."""
    value = shift = 0
    while True:
        byte = table[at]
        at += 1
        value |= (byte & 63) << shift
        shift += 6
        if not byte & 64:
            return value, at


def _svarint(table, at):
    """The sign is in bit 0."""
    value, at = _varint(table, at)
    return (-(value >> 1) if value & 1 else value >> 1), at


def line_of(table, first, unit):
    """The line of a code unit, or None if it has none or the table is damaged."""
    at, line, begin = 0, first, 0
    try:
        while at < len(table):
            head = table[at]
            at += 1
            code, length = (head >> 3) & 15, (head & 7) + 1
            here = True
            if code <= _SHORT_LAST:
                at += 1
            elif code in _ONE_LINE:
                line += code - _ONE_LINE[0]
                at += 2
            elif code == _NO_COLUMN:
                delta, at = _svarint(table, at)
                line += delta
            elif code == _LONG:
                delta, at = _svarint(table, at)
                line += delta
                for _ in range(3):
                    _, at = _varint(table, at)
            else:
                here = False
            if unit < begin + length:
                return line if here else None
            begin += length
    except IndexError:
        pass
    return None
