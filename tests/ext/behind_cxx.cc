/* Statics that are containers of the C++ library, with objects in them. */
#include <Python.h>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

namespace shop {

struct Box {
    long number;
    PyObject *content;
};

static std::unordered_map<std::string, PyObject *> by_name;
static std::map<int, Box> by_number;
static std::vector<Box> row(4);
static std::unique_ptr<Box> box(new Box{7, nullptr});

}

static PyObject **
place(Py_ssize_t which)
{
    using namespace shop;
    return which == 0 ? &by_name["till"] : which == 1 ? &by_number[3].content : which == 2 ? &row[1].content
        : which == 3 ? &box->content : nullptr;
}

#define NAME behind_cxx
#include "holds.h"
