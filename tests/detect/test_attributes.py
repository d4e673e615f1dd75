"""Every form of attribute access on another interpreter's object, each with its test.

The object is reached through attr_borrowed, which never takes a reference to
it.  All forms of one release run in one program, each in a function named
after it.
"""
import json

import pytest

from helpers.programs import used_by, who

# Code that the owner runs; attr_borrowed is `m` in all of these programs.
OBJECTS = """
import types
class Plain:
    constant = None
    def __init__(self):
        self.x = None
    def method(self):
        return None
    def method_one(self, value):
        return None
class Property:
    @property
    def x(self):
        return None
class Overridden:
    def __getattribute__(self, name):
        return None
class Slot:
    __slots__ = ("x",)
class Bare:
    __slots__ = ()
    constant = None
    def method(self):
        return None
class Lazy(Exception):
    def method(self):
        return None
class Base:
    constant = None
    def method(self):
        return None
class Derived(Base):
    pass
class Meta(type):
    pass
class WithMeta(metaclass=Meta):
    x = None
class Dictionary:
    def __init__(self):
        self.__dict__ = {}              # instead of values in the object itself
        self.x = None
plain, thing, slot, module = Plain(), m.Thing(), Slot(), types.ModuleType("module")
thing.number, thing.object, thing.computed = 1, None, 1
slot.x = module.x = None
objects = {"plain": plain, "thing": thing, "property": Property(), "overridden": Overridden(), "slot": slot,
           "bare": Bare(), "lazy": Lazy(), "derived": Derived(), "class": Plain, "meta": WithMeta, "module": module,
           "dictionary": Dictionary()}
"""
TYPES = {"plain": "Plain", "thing": "attr_borrowed.Thing", "property": "Property", "overridden": "Overridden",
         "slot": "Slot", "bare": "Bare", "lazy": "Lazy", "derived": "Derived", "class": "type", "meta": "Meta",
         "module": "module", "dictionary": "Dictionary"}

# Functions of the C API: form -> object, expression, C function in which isan sees the access (or one inlined there).
API = {
    "getattr": ("plain", "m.getattr('x')", "PyObject_GetAttr"),
    "getattr_string": ("plain", "m.getattr_string('x')", "PyObject_GetAttr"),
    "getattr_optional": ("plain", "m.getattr_optional('x')", "PyObject_GetOptionalAttr"),
    "getattr_optional_string": ("plain", "m.getattr_optional_string('x')", "PyObject_GetOptionalAttr"),
    "getattr_generic": ("plain", "m.getattr_generic('x')", "_PyObject_GenericGetAttrWithDict"),
    "getattr_missing": ("plain", "m.getattr_optional('missing')", "PyObject_GetOptionalAttr"),
    "instance_value": ("plain", "m.getattr('x')", "_PyObject_TryGetInstanceAttribute"),
    "hasattr": ("plain", "m.hasattr('x')", "PyObject_GetOptionalAttr"),
    "hasattr_string": ("plain", "m.hasattr_string('x')", "PyObject_GetOptionalAttr"),
    "hasattr_error": ("plain", "m.hasattr_error('x')", "PyObject_GetOptionalAttr"),
    "hasattr_error_string": ("plain", "m.hasattr_error_string('x')", "PyObject_GetOptionalAttr"),
    "setattr": ("plain", "m.setattr('x', None)", "PyObject_SetAttr"),
    "setattr_string": ("plain", "m.setattr_string('x', None)", "PyObject_SetAttr"),
    "setattr_generic": ("plain", "m.setattr_generic('x', None)", "_PyObject_GenericSetAttrWithDict"),
    "delattr": ("plain", "m.delattr('x')", "PyObject_SetAttr"),
    "delattr_string": ("plain", "m.setattr('x', None); m.delattr_string('x')", "PyObject_SetAttr"),
    "call_method": ("plain", "m.call_method('method')", "PyObject_GetAttr"),
    "call_method_no_args": ("plain", "m.call_method_no_args('method')", "_PyObject_GetMethod"),
    "call_method_one_arg": ("plain", "m.call_method_one_arg('method_one', None)", "_PyObject_GetMethod"),
    "call_method_object_args": ("plain", "m.call_method_object_args('method')", "_PyObject_GetMethod"),
    "is_instance": ("plain", "m.is_instance(int)", "PyObject_GetOptionalAttr"),
    "member_get": ("thing", "m.getattr('number')", "PyMember_GetOne"),
    "member_object_get": ("thing", "m.getattr('object')", "PyMember_GetOne"),
    "member_set": ("thing", "m.setattr('number', 2)", "PyMember_SetOne"),
    "member_delete": ("thing", "m.delattr('object')", "PyMember_SetOne"),
    "getset_get": ("thing", "m.getattr('computed')", "getset_get"),
    "getset_set": ("thing", "m.setattr('computed', 2)", "getset_set"),
    "c_method": ("thing", "m.call_method_no_args('method')", "_PyObject_GetMethod"),
}
# The extension calls Python code, and that code accesses the object: form -> object, body of a function of `o`.
PYTHON_API = {
    "builtin_getattr": ("plain", "getattr(o, 'x')", "PyObject_GetAttr"),
    "builtin_getattr_default": ("plain", "getattr(o, 'missing', None)", "PyObject_GetOptionalAttr"),
    "builtin_hasattr": ("plain", "hasattr(o, 'x')", "PyObject_GetOptionalAttr"),
    "builtin_setattr": ("plain", "setattr(o, 'x', None)", "PyObject_SetAttr"),
    "builtin_delattr": ("plain", "setattr(o, 'x', None); delattr(o, 'x')", "PyObject_SetAttr"),
    "delete_attr": ("plain", "o.x = None; del o.x", "PyObject_SetAttr"),
    "object_getattribute": ("plain", "object.__getattribute__(o, 'x')", "_PyObject_GenericGetAttrWithDict"),
}
# Lookups in the object's type: the finding is about the type.
LOOKUPS = {
    "type_attribute": ("plain", "m.getattr_type('constant')"),
    "type_method": ("plain", "m.call_method_no_args('method')"),
    "type_descriptor": ("thing", "m.getattr('number')"),
}
# The evaluation loop's specialised instructions.
SPECIALISED = {
    "LOAD_ATTR_INSTANCE_VALUE": ("plain", "o.x"),
    "LOAD_ATTR_MODULE": ("module", "o.x"),
    "LOAD_ATTR_WITH_HINT": ("dictionary", "o.x"),
    "LOAD_ATTR_SLOT": ("slot", "o.x"),
    "LOAD_ATTR_CLASS": ("class", "o.constant"),
    "LOAD_ATTR_CLASS_WITH_METACLASS_CHECK": ("meta", "o.x"),
    "LOAD_ATTR_PROPERTY": ("property", "o.x"),
    "LOAD_ATTR_GETATTRIBUTE_OVERRIDDEN": ("overridden", "o.x"),
    "LOAD_ATTR_METHOD_WITH_VALUES": ("plain", "o.method()"),
    "LOAD_ATTR_METHOD_NO_DICT": ("bare", "o.method()"),
    "LOAD_ATTR_METHOD_LAZY_DICT": ("lazy", "o.method()"),
    "LOAD_ATTR_NONDESCRIPTOR_WITH_VALUES": ("plain", "o.constant"),
    "LOAD_ATTR_NONDESCRIPTOR_NO_DICT": ("bare", "o.constant"),
    "STORE_ATTR_INSTANCE_VALUE": ("plain", "o.x = None"),
    "STORE_ATTR_SLOT": ("slot", "o.x = None"),
    "STORE_ATTR_WITH_HINT": ("dictionary", "o.x = None"),
    "LOAD_SUPER_ATTR_ATTR": ("derived", "super(type(o), o).constant"),
    "LOAD_SUPER_ATTR_METHOD": ("derived", "super(type(o), o).method()"),
}
# Instructions that leave the object where LOAD_FAST_BORROW of 3.14 has put it.
BORROWS = {name for name, (object, _) in SPECIALISED.items()
           if object in ("plain", "module", "dictionary", "slot") and "METHOD" not in name}
ONLY_314 = {"LOAD_ATTR_CLASS_WITH_METACLASS_CHECK"}
CALLS = 100         # enough to specialise and then to run specialised

# Code that the accessing interpreter runs.
ACCESS = """
import attr_borrowed as m
import dis, opcode
def ran(function):
    return sorted({instruction.opname for instruction in dis.get_instructions(function, adaptive=True)})
"""


def forms_of(version):
    """(object, source of the function that the access is in, how to call it, how often) of each form."""
    forms = []
    for table in API, LOOKUPS:
        for name, (object, expression, *_) in table.items():
            forms.append((object, f"def form_{name}():\n    {expression}", name, f"form_{name}()"))
    for table in PYTHON_API, SPECIALISED:
        for name, (object, body, *_) in table.items():
            if version == "3.14" or name not in ONLY_314:
                calls = CALLS if table is SPECIALISED else 1
                forms.append((object, f"def form_{name}(o):\n    {body}", name,
                              f"for _ in range({calls}): m.pass_to(form_{name})"))
    return forms


PROGRAM = """
import json
first = Interpreter()
second = first if HEALTHY else Interpreter()
first.run("import attr_borrowed as m\\n" + OBJECTS)
second.run(ACCESS)
for object, source, name, call in FORMS:
    first.run(f"plain.x = thing.object = None; m.store(objects[{object!r}])")   # some forms delete
    second.run(f"{source}\\n{call}")
second.run(f'''
import json
specialised = {{name: ran(globals()["form_" + name]) for name in {[form[2] for form in FORMS]}}}
print(json.dumps([specialised, opcode._specializations]))
''')
if not HEALTHY:
    second.end()
first.end()
"""


@pytest.fixture(scope="module")
def foreign(target):
    run = target.run(PROGRAM, HEALTHY=False, OBJECTS=OBJECTS, ACCESS=ACCESS, FORMS=forms_of(target.version))
    assert run.status == 86 and run.report["crashes"] == [] and "Traceback" not in run.err, run.err
    run.specialised, run.all_specialised = json.loads(run.out)
    return run


def used_in(finding, form):
    return used_by(finding, "form_" + form)


def check(finding):
    assert finding["kind"] == "share"
    assert (who(finding["owner"]), who(finding["current"])) == ((1, "own-gil"), (2, "own-gil"))
    return finding


def accesses(run, form, type):
    return [check(finding) for finding in run.findings(access="attribute", type=type) if used_in(finding, form)]


def inner(finding):
    """The functions inlined at the access, and the function that contains them."""
    frames = finding["stacks"]["used"]
    inlined = next((i for i, frame in enumerate(frames) if not frame.get("inlined")), 0)
    return [frame["function"].split(".")[0] for frame in frames[:inlined + 1]]


@pytest.mark.parametrize("form", [*API, *PYTHON_API])
def test_function(foreign, form):
    object, _, function = (API | PYTHON_API)[form]
    found = [finding for finding in accesses(foreign, form, TYPES[object])
             if any(name.startswith(function) for name in inner(finding))]      # 3.14: _PyObject_GetMethodStackRef
    assert found, (form, [(f["access"], f["object"]["type"], inner(f)) for f in foreign.findings() if used_in(f, form)])
    if form in API and "call_method" not in form:
        # None of these functions takes a reference, so isan sees only the access; a method takes one to its object.
        assert [f for f in foreign.findings(access="incref", type=TYPES[object]) if used_in(f, form)] == []


@pytest.mark.parametrize("form", LOOKUPS)
def test_lookup_in_the_type(foreign, form):
    found = accesses(foreign, form, "type")
    assert found, (form, [(f["access"], f["object"]["type"], inner(f)) for f in foreign.findings() if used_in(f, form)])


@pytest.mark.parametrize("form", SPECIALISED)
def test_specialised_instruction(foreign, target, form):
    object, _ = SPECIALISED[form]
    if target.version == "3.13" and form in ONLY_314:
        assert form not in sum(foreign.all_specialised.values(), [])
        return
    assert form in foreign.specialised[form]
    found = accesses(foreign, form, TYPES[object])
    if form.startswith("LOAD_SUPER"):
        (found,) = [f for f in found if "_PySuper_Lookup" in inner(f)]
    else:
        (found,) = [f for f in found if f["stacks"]["used"][0]["kind"] == "python"]     # seen in the loop itself
    assert CALLS * 0.8 <= found["count"] <= CALLS
    if target.version == "3.14" and form in BORROWS:
        # Borrowed from the local variable (LOAD_FAST_BORROW): no reference is taken.
        assert [f for f in foreign.findings(access="incref", type=TYPES[object]) if used_in(f, form)] == []


def test_all_specialised_instructions_are_tested(foreign):
    known = foreign.all_specialised
    assert set(known["LOAD_ATTR"] + known["STORE_ATTR"] + known["LOAD_SUPER_ATTR"]) \
        == {name for name in SPECIALISED if name in foreign.specialised}


def test_the_same_in_the_owner(target):
    run = target.run(PROGRAM, HEALTHY=True, OBJECTS=OBJECTS, ACCESS=ACCESS, FORMS=forms_of(target.version))
    assert run.healthy()
    for form, operations in json.loads(run.out)[0].items():
        assert form not in SPECIALISED or form in operations
