/* The file of a checkpoint, both ways. See checkpoint.h. */
#ifndef PL_FLOW_CHECKPOINT_FILE_H
#define PL_FLOW_CHECKPOINT_FILE_H
#include <flow/checkpoint.h>

/* Fills checkpoint->snapshot. false: no memory. */
bool pl_checkpoint_encode(pl_checkpoint *checkpoint, pl_str state);
/* Reads checkpoint->restored: lanes into checkpoint->seen, *state a slice of it. PL_FAILED, PL_HALT: what is wrong. */
pl_status pl_checkpoint_decode(pl_checkpoint *checkpoint, pl_str *state, pl_error *error);
/* A new, empty entry. NULL: no memory. */
pl_seen *pl_checkpoint_add(pl_checkpoint *checkpoint, pl_str name);
#endif
