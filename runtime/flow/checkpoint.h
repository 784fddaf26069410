/* `state: durable`: a script's state on disk, together with the positions it has seen.
 *
 * A snapshot is taken between two records. It becomes the checkpoint once every input it covers is settled (all its
 * children delivered, its deferred functions run); only then are those inputs committed. So after a crash the state and
 * the positions belong together: what a source hands over again and the checkpoint covers is passed over, everything
 * else is processed on the state as it was before. What a deferred function changes is saved only with a later
 * snapshot: after a crash it may run again on the state of before.
 *
 * File: "PLCK", version, CRC-32C and length of the body; the body: lanes (name, greatest position, positions below it
 * that were not seen yet), then the state as the script room writes it. Little endian. One thread. */
#ifndef PL_FLOW_CHECKPOINT_H
#define PL_FLOW_CHECKPOINT_H
#include <base/buf.h>
#include <flow/merge.h>

enum { PL_CHECKPOINT_MAX_BYTES = 512 << 20 };

typedef struct pl_seen {
    char *name;        /* the lane's */
    bool any;          /* something of the lane was processed; else it is not written */
    uint64_t greatest; /* position processed */
    uint64_t *missing; /* up to it, not processed when the checkpoint was taken; ascending */
    size_t missing_count;
    uint64_t covered; /* as restored from the file: greatest and missing then */
    uint64_t *uncovered;
    size_t uncovered_count;
} pl_seen;

typedef struct pl_checkpoint {
    char *path;
    int64_t every_ns;
    pl_seen *seen;
    size_t seen_count, seen_capacity;
    uint32_t *seen_of; /* by lane index: 1 + place in seen */
    size_t seen_of_capacity;
    size_t restored_count; /* the first so many of `seen` came from the file: they can cover */
    pl_ack **held;         /* inputs processed since the last snapshot */
    size_t held_count, held_capacity;
    pl_ack **waiting; /* inputs of the snapshot, not all settled yet */
    size_t waiting_count, waiting_settled;
    pl_buf snapshot, restored;
    bool pending; /* a snapshot waits for its inputs */
    bool touched; /* the state may have changed since, by what no input held back did */
    int64_t last_ns;
} pl_checkpoint;

/* Reads the checkpoint, if there is one: *state (null: none) lives as long as the checkpoint. PL_FAILED, PL_HALT: it is
 * damaged or can't be read. */
pl_status pl_checkpoint_open(pl_checkpoint *checkpoint, const char *path, int64_t every_ns, pl_str *state,
                             pl_error *error);
void pl_checkpoint_release(pl_checkpoint *checkpoint);
/* True: the state already holds what this record did. */
bool pl_checkpoint_covers(pl_checkpoint *checkpoint, const pl_lane *lane, uint64_t position);
/* A record is about to be processed: its inputs are held back from being committed. false: no memory. */
bool pl_checkpoint_note(pl_checkpoint *checkpoint, const pl_lane *lane, const pl_record *record);
/* A deferred function or a timer has run. */
static inline void pl_checkpoint_touch(pl_checkpoint *checkpoint)
{
    checkpoint->touched = true;
}
/* True when it is time for a snapshot: something was processed or has run, none is pending. */
bool pl_checkpoint_due(const pl_checkpoint *checkpoint, int64_t now_ns, bool final);
/* Takes the snapshot. `merge` knows what is buffered and not yet processed. false: no memory. */
bool pl_checkpoint_take(pl_checkpoint *checkpoint, pl_str state, const pl_merge *merge, int64_t now_ns);
/* Writes the snapshot once its inputs are settled, and lets them be committed. */
pl_status pl_checkpoint_advance(pl_checkpoint *checkpoint, pl_error *error);
/* Nothing held, nothing pending, nothing changed. */
bool pl_checkpoint_done(const pl_checkpoint *checkpoint);
#endif
