#ifndef MODEL_EXTRACT_H
#define MODEL_EXTRACT_H

#include <stddef.h>

/*
 * The program in a model's reply (contracts/generator.md, "Extraction"): without a fence the whole
 * text, else the first fenced block that is not blank, one labelled python, py or python3 before
 * all others. Time grows with the text, whatever is in it. Blank lines around it and an indent of all its lines are taken off. NULL when there
 * is no code. Caller frees.
 */
char *extract_code(const char *text, size_t n);

#endif
