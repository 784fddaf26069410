/* Which dead letters were put back: a file of their keys, a line each, so that none is put back twice, wherever it is
 * read from. It keeps the newest million; what is older counts as never put back. */
#ifndef PL_FLOW_LEDGER_H
#define PL_FLOW_LEDGER_H
#include <flow/letter.h>

enum { PL_LEDGER_KEPT = 1000 * 1000 };

typedef struct pl_ledger pl_ledger;
/* [main] Reads the file, if there is one. NULL: error. */
pl_ledger *pl_ledger_open(const char *path, pl_error *error);
/* [main] Syncs what was written. NULL allowed; nulls. */
void pl_ledger_close(pl_ledger **ledger);
/* [the stage that puts back] Knows the key from now on; *known: it did before. false: no memory. */
bool pl_ledger_mark(pl_ledger *ledger, pl_letter_key key, bool *known);
/* As above, and knows no more than before. Never fails. */
bool pl_ledger_knows(pl_ledger *ledger, pl_letter_key key, bool *known);
/* [the source that reads them] They are settled: into the file, which a kill does not undo; a power cut may. */
pl_status pl_ledger_write(pl_ledger *ledger, const pl_letter_key *keys, size_t count, pl_error *error);
#endif
