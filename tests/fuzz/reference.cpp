#include "reference.h"
#include <cstdlib>
#include <memory>
#include <simdjson.h>
#include <string>
#include <vector>

namespace dom = simdjson::dom;

struct reference {
    char kind = 's';
    std::string scalar; // type and value
    std::vector<std::pair<std::string, std::unique_ptr<reference>>> items;
};

namespace
{
constexpr size_t depth_max = 65; // refuses from there on, so 64 are allowed

std::unique_ptr<reference> build(dom::element element)
{
    auto made = std::make_unique<reference>();
    if (element.is_object()) {
        made->kind = 'o';
        for (auto [key, value] : dom::object(element)) {
            auto &items = made->items;
            for (size_t i = 0; i < items.size(); i++)
                if (items[i].first == key)
                    items.erase(items.begin() + static_cast<ptrdiff_t>(i--));
            items.emplace_back(std::string(key), build(value));
        }
    } else if (element.is_array()) {
        made->kind = 'a';
        for (auto value : dom::array(element))
            made->items.emplace_back(std::string(), build(value));
    } else if (element.is_string()) {
        made->scalar = "s" + std::string(std::string_view(element));
    } else {
        made->scalar = "v" + simdjson::to_string(element);
    }
    return made;
}
} // namespace

extern "C" reference *reference_decode(const char *text, size_t len, reference_verdict *verdict)
{
    dom::parser parser;
    if (parser.allocate(len + 1, depth_max) != simdjson::SUCCESS)
        abort();
    dom::element root;
    auto error = parser.parse(text, len).get(root);
    *verdict = error == simdjson::SUCCESS        ? REFERENCE_FINE
               : error == simdjson::NUMBER_ERROR ? REFERENCE_NUMBER
                                                 : REFERENCE_WRONG;
    return error == simdjson::SUCCESS ? build(root).release() : nullptr;
}

extern "C" void reference_free(reference *value)
{
    delete value;
}

extern "C" char reference_kind(const reference *value)
{
    return value->kind;
}

extern "C" size_t reference_count(const reference *value)
{
    return value->items.size();
}

extern "C" reference *reference_at(reference *value, size_t index)
{
    return value->items.at(index).second.get();
}

extern "C" const char *reference_key(const reference *object, size_t index, size_t *len)
{
    const std::string &key = object->items.at(index).first;
    *len = key.size();
    return key.data();
}

extern "C" void reference_set(reference *container, size_t index, const char *key, size_t key_len, const char *json)
{
    reference_verdict verdict;
    std::unique_ptr<reference> value(reference_decode(json, std::char_traits<char>::length(json), &verdict));
    if (!value)
        abort();
    if (index < container->items.size())
        container->items[index].second = std::move(value);
    else
        container->items.emplace_back(container->kind == 'o' ? std::string(key, key_len) : std::string(),
                                      std::move(value));
}

extern "C" void reference_remove(reference *container, size_t index)
{
    container->items.erase(container->items.begin() + static_cast<ptrdiff_t>(index));
}

extern "C" bool reference_same(const reference *a, const reference *b)
{
    if (a->kind != b->kind || a->scalar != b->scalar || a->items.size() != b->items.size())
        return false;
    for (size_t i = 0; i < a->items.size(); i++)
        if (a->items[i].first != b->items[i].first ||
            !reference_same(a->items[i].second.get(), b->items[i].second.get()))
            return false;
    return true;
}
