/* SPDX-License-Identifier: Apache-2.0 */
/*
 * products: the files that an output consists of, and the small ones among
 * them, written and synced one by one.
 */
#ifndef TM_SRC_PRODUCTS_H
#define TM_SRC_PRODUCTS_H

#include <stddef.h>
#include <stdint.h>

#include "io/digest.h"
#include "io/json.h"
#include "io/outfile.h"
#include "src/plan.h"
#include "src/staging.h"

struct tm_product_file {
    const char *name; /* in the output, below the prefix */
    uint64_t bytes;
    struct tm_digest digest;
};

/* What was written so far, in order. */
struct tm_products {
    struct tm_staging *staging;
    const char *prefix; /* directory in OUT with a slash, or "" */
    struct tm_product_file *files;
    size_t count;
    size_t capacity;
};

/* One more, to be filled in; NULL: no memory, reported. */
struct tm_product_file *tm_products_add(struct tm_products *products,
                                        const char *name);

/* Creates the file `name`. */
enum tm_status tm_products_create(struct tm_products *products,
                                  const char *name, struct tm_outfile *out);

/* Finishes and lists it; `writer` (may be NULL) must not have failed. */
enum tm_status tm_products_finish(struct tm_products *products,
                                  const char *name, struct tm_outfile *out,
                                  const struct tm_json_writer *writer);

/* Copies the side files that are not left out. */
enum tm_status tm_products_copy(struct tm_products *products,
                                const struct tm_side_file *files);

/* Writes the digest as a member. */
void tm_put_digest(struct tm_json_writer *writer, const char *key,
                   const struct tm_digest *digest);

/* Writes the side files that are left out as elements of an array. */
void tm_put_left_out(struct tm_json_writer *writer,
                     const struct tm_side_file *files);

void tm_products_free(struct tm_products *products);

#endif
