"""Variables and members: the static that holds an object, the names of members and references."""
import re

from ..read import records
from .frames import Frames
from .kinds import REASONS

# Names that C and C++ reserve for the implementation: what a container of the C++ library is made of.
_RESERVED = re.compile(r"\._[A-Z_].*")
# Objects/typeobject.c: functions of every class made in Python, which say nothing about its instances.
_ANY_CLASS = re.compile(r"subtype_(dealloc|traverse|clear)(\.|$)")


class Variables(Frames):
    """Names what a finding's object is held by and referred to from."""

    def created(self, log, object):
        """The stack of an object's creation, or its one Python frame."""
        if not object.origin:
            return []
        if object.flags & records.OBJ_ORIGIN_STACK:
            return self.stack(log, object.origin, creator=object.maker or object.owner)
        return [self.python_frame(log, object.origin, self.interp(log, object.maker or object.owner))]

    @staticmethod
    def thing(object, type):
        """The object of a finding, as the report has it."""
        return {"type": type or None, "address": object.address, "serial": object.serial or None,
                "size": object.size, "python": bool(object.flags & records.OBJ_OBJECT),
                "freed": bool(object.flags & records.OBJ_FREED),
                "interned": bool(object.flags & records.OBJ_INTERNED),
                "recycled": bool(object.flags & records.OBJ_RECYCLED),
                "static_type": bool(object.flags & records.OBJ_STATIC_TYPE)}

    def holder(self, log, holder, offset, id):
        """The variable that holds the object of this finding, or None."""
        address, thread_local = holder.address, bool(holder.tls)
        if not address:
            return None
        path = next(iter(log.of("behind", id)), None)
        module = log.module(address, offset)
        found = {"kind": "static", "module": module.path if module else None, "symbol": None, "file": None,
                 "line": None, "path": None, "section": None, "address": address,
                 "offset": holder.tls - 1 if thread_local else address - module.bias if module else None,
                 "thread_local": thread_local, "tid": holder.tid if thread_local else None, "atomic": False,
                 "behind": path.hops if path else 0, "indirect": path is not None}
        if module:
            names = (self.symbolizer.tls(module, holder.tls - 1, *(path.at if path else ())) if thread_local
                     else self.symbolizer.data(module, address, *(path.at if path else ())))
            for key in ("symbol", "file", "line", "section"):
                found[key] = names.get(key)
            found["path"], found["atomic"] = names.get("element"), names.get("atomic", False)
            if path and names.get("followed") == path.hops:
                found["behind"] = 0
            elif path and found["path"]:
                found["path"] = _RESERVED.sub("", found["path"]) or None
            if not found["file"]:
                self.nameless.add(module.path)
        return found

    def retainer(self, log, leak, steps):
        """What keeps a leak alive, or None if nothing is known."""
        found, kind = self.holder(log, leak.holder, leak.offset, leak.id), leak.retainer
        if kind == "unknown" and found:
            kind = "static"
        if not found:
            if kind == "unknown":
                return None
            found = dict.fromkeys(("kind", "module", "symbol", "file", "line", "path", "section", "address", "offset"))
        found["kind"] = kind
        if steps and steps[0].position == 0:
            # The retainer is an object. The report adds where that was made.
            step = steps[0]
            found.update(object=self.thing(step.from_, step.from_type), owner=self.interp(log, step.from_.owner),
                         edge=step.edge, path=self.label(log, step), leak=None)
        return found

    def member(self, log, record):
        """The name of the member of an object at record.at, or None."""
        if record.member:
            return record.member
        module = log.module(record.code, record.offset) if record.code and record.basicsize else None
        if not module or any(_ANY_CLASS.match(f.get("function") or "")
                             for f in self.symbolizer.code(module, record.code)):
            return None
        name = self.symbolizer.member(module, record.code, record.basicsize, record.at)
        if not name:
            self.nameless.add(module.path)
        return name

    def label(self, log, step):
        """The name of the reference that this step follows, within the object that has it."""
        if step.edge == "item":
            return "[%d]" % step.at
        if step.edge == "value" and step.label:
            return "['%s']" % step.label
        if step.edge == "attribute" and step.label:
            return "." + step.label
        if step.edge in ("key", "value", "attribute"):
            return "%s %d" % (step.edge, step.at)
        if step.edge == "field":
            name = self.member(log, step)
            return (".%s " % name if name else "") + "(offset %d)" % step.at
        return step.edge

    def reason(self, log, r):
        """A sentence: why the garbage collector could not clear a cycle."""
        name = self.member(log, r) if r.at else None
        member = "`%s` (offset %d)" % (name, r.at) if name else "the member at offset %d" % r.at
        if r.target:
            member += ", a `%s`" % r.target
        return REASONS[r.reason].text.replace("{member}", member).replace("{type}", "`%s`" % r.type)
