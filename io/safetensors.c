/* SPDX-License-Identifier: Apache-2.0 */
/* safetensors: see safetensors.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "io/safetensors.h"

#include <string.h>

#include "io/checked.h"

struct parser {
    const char *path;
    uint64_t data_bytes;
    const struct tm_header_visitor *visitor;
    bool has_metadata;
};

/* Formats that are mistaken for safetensors, by their first bytes. */
static const struct {
    const char *magic;
    size_t length;
    const char *hint;
} foreign[] = {
    {"PK\003\004", 4,
     "a zip file, perhaps a PyTorch .bin: save it as "
     "safetensors first"},
    {"\200\002", 2, "a pickle file: save it as safetensors first"},
    {"\200\003", 2, "a pickle file: save it as safetensors first"},
    {"\200\004", 2, "a pickle file: save it as safetensors first"},
    {"GGUF", 4, "a GGUF file"},
    {"version ", 8, "a Git LFS pointer: run git lfs pull first"},
};

static enum tm_status bad_start(const char *path, const unsigned char *start,
                                size_t length, const char *cause)
{
    for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++)
        if (length >= foreign[i].length &&
            memcmp(start, foreign[i].magic, foreign[i].length) == 0)
            return tm_error(TM_BAD_DATA, "%s: not a safetensors file but %s",
                            path, foreign[i].hint);
    return tm_error(TM_BAD_DATA, "%s: not a safetensors file: %s", path, cause);
}

enum tm_status tm_safetensors_length(const char *path,
                                     const unsigned char *start,
                                     size_t start_length, uint64_t file_bytes,
                                     uint64_t *length)
{
    uint64_t n = 0;

    if (file_bytes < 8 || start_length < 8)
        return bad_start(path, start, start_length,
                         "too short to hold a header");
    for (unsigned i = 0; i < 8; i++)
        n |= (uint64_t)start[i] << (8 * i);
    if (n > TM_HEADER_MAX)
        return bad_start(path, start, start_length,
                         "its header would be larger than 100 MB");
    if (n > file_bytes - 8)
        return bad_start(path, start, start_length,
                         "its header would end behind the file");
    if (n < 2)
        return bad_start(path, start, start_length, "its header is empty");
    *length = n;
    return TM_OK;
}

static enum tm_status bad_tensor(const struct parser *p, const char *name,
                                 const char *cause)
{
    return tm_error(TM_BAD_DATA, "%s: tensor '%s': %s", p->path, name, cause);
}

static bool get_integer(const json_t *value, uint64_t *result)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return false;
    *result = (uint64_t)json_integer_value(value);
    return true;
}

/* Reads the shape into `shape` and its product into tensor->elements. */
static enum tm_status get_shape(const struct parser *p, const json_t *value,
                                uint64_t shape[TM_MAX_DIMS],
                                struct tm_header_tensor *tensor)
{
    uint64_t elements = 1;

    if (!json_is_array(value))
        return bad_tensor(p, tensor->name, "shape is not a list");
    if (json_array_size(value) > TM_MAX_DIMS)
        return bad_tensor(p, tensor->name, "shape has over 64 dimensions");
    tensor->ndim = (unsigned)json_array_size(value);
    for (unsigned i = 0; i < tensor->ndim; i++) {
        if (!get_integer(json_array_get(value, i), &shape[i]))
            return bad_tensor(p, tensor->name,
                              "shape has a member that is not a whole number");
        if (!tm_mul(elements, shape[i], &elements))
            return bad_tensor(p, tensor->name,
                              "shape has more elements than can be counted");
    }
    tensor->shape = shape;
    tensor->elements = elements;
    return TM_OK;
}

static enum tm_status get_offsets(const struct parser *p, const json_t *value,
                                  struct tm_header_tensor *tensor)
{
    uint64_t end;

    if (!json_is_array(value) || json_array_size(value) != 2 ||
        !get_integer(json_array_get(value, 0), &tensor->begin) ||
        !get_integer(json_array_get(value, 1), &end))
        return bad_tensor(p, tensor->name,
                          "data_offsets is not a pair of whole numbers");
    if (end < tensor->begin)
        return bad_tensor(p, tensor->name, "ends before it begins");
    if (end > p->data_bytes)
        return tm_error(TM_BAD_DATA,
                        "%s: tensor '%s': ends at byte %llu of the data, "
                        "which has %llu",
                        p->path, tensor->name, (unsigned long long)end,
                        (unsigned long long)p->data_bytes);
    tensor->bytes = end - tensor->begin;
    return TM_OK;
}

/* Whether shape and type make the bytes that the offsets give. */
static enum tm_status check_size(const struct parser *p,
                                 const struct tm_header_tensor *tensor)
{
    uint64_t bits;

    if (tensor->dtype == TM_OPAQUE)
        return TM_OK;
    if (!tm_mul(tensor->elements, tm_dtype_bits(tensor->dtype), &bits))
        return bad_tensor(p, tensor->name,
                          "has more bytes than can be "
                          "counted");
    if (bits % 8 != 0)
        return bad_tensor(p, tensor->name, "does not end on a whole byte");
    if (bits / 8 != tensor->bytes)
        return tm_error(TM_BAD_DATA,
                        "%s: tensor '%s': its type and shape make %llu bytes, "
                        "its offsets %llu",
                        p->path, tensor->name, (unsigned long long)(bits / 8),
                        (unsigned long long)tensor->bytes);
    return TM_OK;
}

static enum tm_status get_tensor(const struct parser *p, const char *name,
                                 const json_t *value)
{
    uint64_t shape[TM_MAX_DIMS];
    struct tm_header_tensor tensor = {.name = name};
    enum tm_status status;

    if (!json_is_object(value) || json_object_size(value) != 3)
        return bad_tensor(p, name,
                          "is not an object of dtype, shape and data_offsets");
    tensor.dtype_name = json_string_value(json_object_get(value, "dtype"));
    if (tensor.dtype_name == NULL)
        return bad_tensor(p, name, "dtype is not a string");
    tensor.dtype = tm_dtype_from_name(tensor.dtype_name);
    status = get_shape(p, json_object_get(value, "shape"), shape, &tensor);
    if (status == TM_OK)
        status =
            get_offsets(p, json_object_get(value, "data_offsets"), &tensor);
    if (status == TM_OK)
        status = check_size(p, &tensor);
    if (status == TM_OK)
        status = p->visitor->tensor(p->visitor->context, &tensor);
    return status;
}

static enum tm_status get_metadata(struct parser *p, const json_t *value)
{
    const struct tm_header_visitor *visitor = p->visitor;
    const char *key;
    json_t *member;

    if (p->has_metadata)
        return tm_error(TM_BAD_DATA, "%s: __metadata__ is there twice",
                        p->path);
    p->has_metadata = true;
    if (!json_is_object(value))
        return tm_error(TM_BAD_DATA, "%s: __metadata__ is not an object",
                        p->path);
    /* The cast: jansson's iterators take no const object. */
    json_object_foreach((json_t *)(uintptr_t)value, key, member)
    {
        enum tm_status status;

        if (!json_is_string(member))
            return tm_error(TM_BAD_DATA,
                            "%s: __metadata__: '%s' is not a string", p->path,
                            key);
        status =
            visitor->metadata(visitor->context, key, json_string_value(member));
        if (status != TM_OK)
            return status;
    }
    return TM_OK;
}

static enum tm_status get_member(void *context, const char *key,
                                 struct tm_json_text *text)
{
    struct parser *p = context;
    json_t *value = tm_json_value(text);
    enum tm_status status;

    if (value == NULL)
        return text->status;
    if (strcmp(key, "__metadata__") == 0)
        status = get_metadata(p, value);
    else
        status = get_tensor(p, key, value);
    json_decref(value);
    return status;
}

enum tm_status tm_safetensors_parse(const char *path, const char *json,
                                    size_t length, uint64_t data_bytes,
                                    const struct tm_header_visitor *visitor)
{
    struct parser parser = {path, data_bytes, visitor, false};
    struct tm_json_text text = {.path = path, .text = json, .length = length};
    enum tm_status status = tm_json_members(&text, get_member, &parser);

    if (status == TM_OK)
        status = tm_json_end(&text);
    return status;
}

void tm_safetensors_write(struct tm_json_writer *writer,
                          const struct tm_header_tensor *tensor)
{
    tm_json_begin(writer, tensor->name, '{');
    tm_json_string(writer, "dtype", tensor->dtype_name);
    tm_json_integers(writer, "shape", tensor->ndim, tensor->shape);
    tm_json_begin(writer, "data_offsets", '[');
    tm_json_integer(writer, NULL, tensor->begin);
    tm_json_integer(writer, NULL, tensor->begin + tensor->bytes);
    tm_json_finish(writer, ']');
    tm_json_finish(writer, '}');
}
