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
typedef enum {
    PL_LEDGER_NEW,    /* never put back */
    PL_LEDGER_MARKED, /* in this very run: it may not be settled yet */
    PL_LEDGER_SETTLED /* by an earlier one */
} pl_ledger_state;
/* [the stage that puts back] */
pl_ledger_state pl_ledger_look(const pl_ledger *ledger, pl_letter_key key);
/* [the stage that puts back] From now on the key is marked. false: no memory. */
bool pl_ledger_mark(pl_ledger *ledger, pl_letter_key key);
/* [the source that reads them] They are settled: into the file, which a kill does not undo; a power cut may. */
pl_status pl_ledger_write(pl_ledger *ledger, const pl_letter_key *keys, size_t count, pl_error *error);
#endif
