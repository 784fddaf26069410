#include "watch.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

/* ThreadSanitizer keeps signals back until the program calls something that it knows, which a loop in Lua never does.
 */
#if defined(__SANITIZE_THREAD__)
#define WATCH_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define WATCH_TSAN 1
#endif
#endif
#ifdef WATCH_TSAN
static const bool signals_arrive = false;
#else
static const bool signals_arrive = true;
#endif

#ifndef sigev_notify_thread_id /* timer_create(2) has it, glibc 2.36 does not */
#define sigev_notify_thread_id _sigev_un._tid
#endif

enum { TICK_NS = 10000000 };

typedef struct watch { /* of one thread; its signal handler changes it, too */
    pl_watched *volatile current;
    volatile sig_atomic_t ticking;
    const pl_watched *seen; /* what the tick before met */
    uint64_t seen_call;
    volatile sig_atomic_t made; /* there is a timer */
    bool failed;
    timer_t timer;
} watch;

static _Thread_local watch here;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t at_thread_end;
static bool usable;

static void on_tick(int signal)
{
    (void)signal;
    static const struct itimerspec never;
    int before = errno;
    pl_watched *watched = here.current;
    if (!here.made)
        return;
    if (!watched) {
        (void)timer_settime(here.timer, 0, &never, NULL);
        here.ticking = 0;
    } else if (watched == here.seen && watched->call == here.seen_call) {
        watched->slow(watched);
    } else {
        here.seen = watched;
        here.seen_call = watched->call;
    }
    errno = before;
}

static void forget_timer(void *self)
{
    watch *gone = self;
    gone->made = 0; /* a signal may still be on its way, and the timer's number soon be another's */
    (void)timer_delete(gone->timer);
}

static void set_up(void)
{
    struct sigaction action = {.sa_handler = on_tick, .sa_flags = SA_RESTART};
    usable = sigemptyset(&action.sa_mask) == 0 && sigaction(PL_WATCH_SIGNAL, &action, NULL) == 0 &&
             pthread_key_create(&at_thread_end, forget_timer) == 0;
}

static bool make_timer(void)
{
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = PL_WATCH_SIGNAL};
    sigset_t signals;
    (void)pthread_once(&once, set_up);
    event.sigev_notify_thread_id = gettid();
    if (!usable || timer_create(CLOCK_MONOTONIC, &event, &here.timer) != 0)
        return false;
    if (pthread_setspecific(at_thread_end, &here) != 0) {
        (void)timer_delete(here.timer);
        return false;
    }
    here.made = 1;
    (void)sigemptyset(&signals); /* stages block all signals */
    (void)sigaddset(&signals, PL_WATCH_SIGNAL);
    return pthread_sigmask(SIG_UNBLOCK, &signals, NULL) == 0;
}

static __attribute__((noinline)) bool start_ticking(void)
{
    static const struct itimerspec every = {{0, TICK_NS}, {0, TICK_NS}};
    if (!here.made && (here.failed || !signals_arrive || !make_timer())) {
        here.failed = true;
        return false;
    }
    here.ticking = timer_settime(here.timer, 0, &every, NULL) == 0;
    return here.ticking;
}

bool pl_watch_enter(pl_watched *watched)
{
    watched->call++;
    watched->outer = here.current;
    here.current = watched; /* first: a tick that came after a look at `ticking` would stop the timer */
    return here.ticking || start_ticking();
}

void pl_watch_leave(pl_watched *watched)
{
    here.current = watched->outer;
}
