/* Notices a call of a script that goes on for long. A count hook would do it alone, but then Lua stops at every
 * instruction to count, which is a sixth of what a short call costs. So a call begins without a hook; a timer of its
 * thread looks every 10 ms, and when it meets the same call again it has the hook set. lua_sethook may be called from a
 * signal handler of the thread that runs the state (ldebug.c, and lua.c does it for SIGINT).
 *
 * The signal is PL_WATCH_SIGNAL, for the one thread alone; system calls that can go on are restarted (SA_RESTART). A
 * thread whose scripts rest has no timer going. */
#ifndef PL_SCRIPT_WATCH_H
#define PL_SCRIPT_WATCH_H
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define PL_WATCH_SIGNAL (SIGRTMIN + 5)

typedef struct pl_watched {
    void (*slow)(struct pl_watched *self); /* called in the signal handler, on the thread of the call */
    struct pl_watched *outer;              /* the call within which this one was made */
    uint64_t call;                         /* counts enters */
} pl_watched;

/* From now on this thread works on `watched`. false: there is no timer to be had, nobody will look. */
bool pl_watch_enter(pl_watched *watched);
/* The latest one entered on this thread goes on with another call. */
static inline void pl_watch_again(pl_watched *watched)
{
    watched->call++;
    atomic_signal_fence(memory_order_seq_cst); /* a tick after this takes no earlier call for this one */
}
/* The latest one entered on this thread is done. */
void pl_watch_leave(pl_watched *watched);
#endif
