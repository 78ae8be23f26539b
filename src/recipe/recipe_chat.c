/* SPDX-License-Identifier: Apache-2.0 */
/* recipe_chat: tokenizer and chat template; see recipe_reader.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <string.h>

#include "src/recipe/recipe_reader.h"

/* --- tokenizer -----------------------------------------------------------*/

/* Whose tokenizer: "base" or a model. */
static void read_source(struct tm_reader *reader,
                        const struct tm_yaml_node *node)
{
    const char *text = node->kind == TM_YAML_SCALAR ? node->text : "";
    struct tm_reference reference;

    if (strcmp(text, "base") == 0)
        reader->recipe->tokenizer = reader->recipe->base;
    else if (strcmp(text, "union") == 0)
        tm_reader_error(reader, node->place,
                        "tokenizers cannot be united yet: name the one to "
                        "take, 'base' or a model");
    else if (tm_reader_reference(reader, node, &reference))
        reader->recipe->tokenizer = reference.path;
}

static void read_tokenizer(struct tm_reader *reader,
                           const struct tm_yaml_node *node)
{
    const struct tm_yaml_node *source = NULL, *tokens = NULL, *pad = NULL;
    const struct tm_reader_key keys[] = {
        {"source", &source}, {"tokens", &tokens}, {"pad_to_multiple_of", &pad}};

    if (!tm_reader_map(reader, node, "'tokenizer'", keys, 3))
        return;
    if (tokens != NULL)
        tm_reader_error(reader, tokens->place,
                        "'tokens' is not supported yet: leave it out to keep "
                        "the embeddings of the source's tokens");
    if (pad != NULL)
        tm_reader_error(reader, pad->place,
                        "'pad_to_multiple_of' is not supported yet");
    if (source != NULL)
        read_source(reader, source);
    else
        tm_reader_error(reader, node->place,
                        "'tokenizer' without 'source' unites tokenizers, which "
                        "is not supported yet: name the one to take, 'base' or "
                        "a model");
}

void tm_reader_tokenizer(struct tm_reader *reader,
                         const struct tm_yaml_node *tokenizer_source,
                         const struct tm_yaml_node *tokenizer)
{
    if (tokenizer_source != NULL && tokenizer != NULL)
        tm_reader_error(reader, tokenizer->place,
                        "only one of 'tokenizer_source' and 'tokenizer' may be "
                        "there");
    else if (tokenizer_source != NULL)
        read_source(reader, tokenizer_source);
    else if (tokenizer != NULL)
        read_tokenizer(reader, tokenizer);
}

/* --- chat template -------------------------------------------------------*/

/* A text shorter than this is the name of a template, or meant as one. */
#define SHORTEST 20

/* The formats by the names that recipes use; NULL: without a text yet. */
static const struct {
    const char *name;
    const char *text;
} templates[] = {
    {"alpaca", "{% for message in messages %}"
               "{% if message['role'] == 'system' %}"
               "{{ message['content'] + '\\n\\n' }}"
               "{% elif message['role'] == 'user' %}"
               "{{ '### Instruction:\\n' + message['content'] + '\\n\\n' }}"
               "{% elif message['role'] == 'assistant' %}"
               "{{ '### Response:\\n' + message['content'] + eos_token + "
               "'\\n\\n' }}"
               "{% endif %}{% endfor %}"
               "{% if add_generation_prompt %}"
               "{{ '### Response:\\n' }}{% endif %}"},
    {"auto", NULL},
    {"chatml", "{% for message in messages %}"
               "{{ '<|im_start|>' + message['role'] + '\\n' + "
               "message['content'] + '<|im_end|>\\n' }}"
               "{% endfor %}"
               "{% if add_generation_prompt %}"
               "{{ '<|im_start|>assistant\\n' }}{% endif %}"},
    {"exaone", NULL},
    {"llama3", "{{ bos_token }}{% for message in messages %}"
               "{{ '<|start_header_id|>' + message['role'] + "
               "'<|end_header_id|>\\n\\n' + message['content'] | trim + "
               "'<|eot_id|>' }}"
               "{% endfor %}"
               "{% if add_generation_prompt %}"
               "{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}"
               "{% endif %}"},
    {"mistral", "{{ bos_token }}{% for message in messages %}"
                "{% if message['role'] == 'assistant' %}"
                "{{ ' ' + message['content'] | trim + eos_token }}"
                "{% else %}"
                "{{ '[INST] ' + message['content'] | trim + ' [/INST]' }}"
                "{% endif %}{% endfor %}"},
};

void tm_reader_chat_template(struct tm_reader *reader,
                             const struct tm_yaml_node *node)
{
    struct tm_nearest nearest = {0};
    const char *text;

    if (node == NULL)
        return;
    text = tm_reader_text(reader, node, "'chat_template'");
    if (text == NULL)
        return;
    if (strlen(text) >= SHORTEST && strchr(text, '{') != NULL) {
        reader->recipe->chat_template = tm_reader_copy(reader, text);
        return;
    }
    nearest.word = text;
    for (size_t i = 0; i < sizeof(templates) / sizeof(templates[0]); i++) {
        tm_nearest_try(&nearest, templates[i].name);
        if (strcmp(text, templates[i].name) != 0)
            continue;
        reader->recipe->chat_template = templates[i].text;
        if (templates[i].text == NULL)
            tm_reader_error(reader, node->place,
                            "chat template '%s' is not supported yet: give the "
                            "template itself, in Jinja",
                            text);
        return;
    }
    tm_reader_error(reader, node->place,
                    "chat template '%s' is neither Jinja nor the name of a "
                    "template%s%s%s",
                    text, nearest.name != NULL ? " (did you mean '" : "",
                    nearest.name != NULL ? nearest.name : "",
                    nearest.name != NULL ? "'?)" : "");
}
