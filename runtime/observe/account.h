/* What one worker of a component has done. Written by its own thread, read by any. */
#ifndef PL_OBSERVE_ACCOUNT_H
#define PL_OBSERVE_ACCOUNT_H
#include <stdatomic.h>
#include <stdint.h>

typedef enum { PL_CIRCUIT_CLOSED, PL_CIRCUIT_OPEN, PL_CIRCUIT_HALF_OPEN } pl_circuit;

typedef struct pl_account {
    _Atomic uint64_t read, delivered, filtered, dead_lettered, born, replayed, retries, errors, bytes;
    _Atomic uint64_t circuit_opened; /* how often */
    _Atomic uint32_t circuit;        /* pl_circuit, now */
    _Atomic int64_t newest_unix_ns;  /* source: greatest event time handed over; 0: none yet */
} pl_account;
static inline void pl_count(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}
static inline uint64_t pl_counted(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}
#endif
