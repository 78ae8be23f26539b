/* SPDX-License-Identifier: Apache-2.0 */
/* products: see products.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/products.h"

#include <stdlib.h>
#include <string.h>

#include "io/path.h"

struct tm_product_file *tm_products_add(struct tm_products *products,
                                        const char *name)
{
    struct tm_product_file *file;

    if (products->count == products->capacity) {
        const size_t capacity = 2 * products->capacity + 16;

        file = realloc(products->files, capacity * sizeof(*file));
        if (file == NULL) {
            tm_no_memory();
            return NULL;
        }
        products->files = file;
        products->capacity = capacity;
    }
    file = &products->files[products->count++];
    *file = (struct tm_product_file){.name = name};
    return file;
}

/* The name in the staging directory, whose parents are made. */
static enum tm_status place(struct tm_products *products, const char *name,
                            const char **inside, const char **path)
{
    struct tm_staging *staging = products->staging;

    *inside = tm_path_join(&staging->arena, products->prefix, name);
    *path = *inside != NULL ? tm_staging_path(staging, *inside) : NULL;
    if (*path == NULL)
        return tm_no_memory();
    return tm_staging_make_parents(staging, *inside);
}

enum tm_status tm_products_create(struct tm_products *products,
                                  const char *name, struct tm_outfile *out)
{
    const char *inside, *path;
    const enum tm_status status = place(products, name, &inside, &path);

    if (status != TM_OK)
        return status;
    return tm_outfile_create(products->staging->disk, products->staging->fd,
                             inside, path, out);
}

enum tm_status tm_products_finish(struct tm_products *products,
                                  const char *name, struct tm_outfile *out,
                                  const struct tm_json_writer *writer)
{
    struct tm_digest digest;
    uint64_t bytes;
    const enum tm_status status = tm_outfile_finish(out, &digest, &bytes);
    struct tm_product_file *file;

    if (status != TM_OK)
        return status;
    if (writer != NULL && writer->failed)
        return tm_no_memory(); /* the file itself did not fail */
    file = tm_products_add(products, name);
    if (file == NULL)
        return TM_SYSTEM;
    file->digest = digest;
    file->bytes = bytes;
    return TM_OK;
}

/* A side file whose content the plan has. */
static enum tm_status write_one(struct tm_products *products,
                                const struct tm_side_file *from)
{
    struct tm_outfile out;
    const enum tm_status status =
        tm_products_create(products, from->name, &out);

    if (status != TM_OK)
        return status;
    tm_outfile_write(&out, from->content, from->size);
    return tm_products_finish(products, from->name, &out, NULL);
}

static enum tm_status copy_one(struct tm_products *products,
                               const struct tm_side_file *from)
{
    struct tm_product_file *file = tm_products_add(products, from->name);
    const char *inside, *path;
    enum tm_status status;

    if (file == NULL)
        return TM_SYSTEM;
    status = place(products, from->name, &inside, &path);
    if (status != TM_OK)
        return status;
    return tm_outfile_copy(products->staging->disk, from->path,
                           products->staging->fd, inside, path, &file->digest,
                           &file->bytes);
}

enum tm_status tm_products_copy(struct tm_products *products,
                                const struct tm_side_file *files)
{
    enum tm_status status = TM_OK;

    for (; files != NULL && status == TM_OK; files = files->next)
        if (files->why_not == NULL)
            status = files->content != NULL ? write_one(products, files)
                                            : copy_one(products, files);
    return status;
}

void tm_put_digest(struct tm_json_writer *writer, const char *key,
                   const struct tm_digest *digest)
{
    char text[TM_DIGEST_CHARS + 1];

    tm_digest_print(digest, text);
    tm_json_string(writer, key, text);
}

void tm_put_left_out(struct tm_json_writer *writer,
                     const struct tm_side_file *files)
{
    for (; files != NULL; files = files->next) {
        if (files->why_not == NULL ||
            !tm_utf8_is_valid(files->name, strlen(files->name)))
            continue;
        tm_json_begin(writer, NULL, '{');
        tm_json_string(writer, "name", files->name);
        tm_json_string(writer, "why", files->why_not);
        tm_json_finish(writer, '}');
    }
}

void tm_products_free(struct tm_products *products)
{
    free(products->files);
    products->files = NULL;
}
