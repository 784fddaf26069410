/* The calls a test makes into the plugin, and what it asks about their results. */
#include "support_private.h"

#include <stdlib.h>
#include <time.h>

enum { DRAIN_CALLS_MAX = 10000 };
static const int64_t NEXT_NS = INT64_C(100) * 1000000, WRITE_NS = INT64_C(5) * 1000000000;

static pl_error *fresh_error(stub *host)
{
    host->error = (pl_error){.struct_size = sizeof host->error};
    return &host->error;
}

static pl_status next(stub *host, int64_t *resume_ns)
{
    int64_t deadline = host->host.now_ns(&host->host) + NEXT_NS;
    *resume_ns = 0;
    return host->component->source->next(host->self, deadline, resume_ns, fresh_error(host));
}

pl_status stub_next(stub *host)
{
    int64_t resume_ns;
    return next(host, &resume_ns);
}

static void wait_until(stub *host, int64_t resume_ns)
{
    int64_t wait = resume_ns - host->host.now_ns(&host->host);
    if (!host->real_time) {
        stub_advance(host, wait > 0 ? wait : 0);
    } else if (wait > 0) {
        struct timespec pause = {.tv_sec = wait / 1000000000, .tv_nsec = wait % 1000000000};
        (void)nanosleep(&pause, NULL);
    }
}

pl_status stub_drain(stub *host, size_t count)
{
    for (int calls = 0; calls < DRAIN_CALLS_MAX; calls++) {
        int64_t resume_ns;
        pl_status status = next(host, &resume_ns);
        if (status == PL_END || status == PL_FAILED || host->emitted_count >= count) {
            return status;
        }
        if (status == PL_AGAIN) {
            wait_until(host, resume_ns);
        }
    }
    fail_msg("next was called %d times; %zu of %zu records came", DRAIN_CALLS_MAX, host->emitted_count, count);
    return PL_FAILED;
}

pl_status stub_poll(stub *host, size_t index)
{
    return host->component->poller->poll(host->self, index, host->host.unix_ns(&host->host), fresh_error(host));
}

pl_status stub_commit(stub *host, uint32_t lane, uint64_t position)
{
    return host->component->source->commit(host->self, lane, position, fresh_error(host));
}

const char *stub_json(const stub *host, size_t i)
{
    assert_true(i < host->emitted_count);
    return host->emitted[i].json;
}

static pl_field *copy_headers(const stub_record *from)
{
    pl_field *headers = stub_alloc(from->header_count * sizeof *headers);
    for (uint32_t i = 0; i < from->header_count; i++) {
        headers[i] = from->headers[i];
        headers[i].name.ptr = stub_copy(from->headers[i].name);
        headers[i].value.as.s.ptr = stub_copy(from->headers[i].value.as.s);
    }
    return headers;
}

static void give(stub *host, stub_given *given, const stub_record *from, size_t i)
{
    given->state = STUB_OUT;
    given->payload = from->payload ? stub_copy(PL_S(from->payload)) : NULL;
    given->key = from->key ? stub_copy(PL_S(from->key)) : NULL;
    given->stream = from->stream ? stub_copy(PL_S(from->stream)) : NULL;
    given->headers = copy_headers(from);
    given->record = (pl_record){
        .stream = {given->stream, given->stream ? strlen(given->stream) : 0},
        .key = {given->key, given->key ? strlen(given->key) : 0},
        .payload = {given->payload, given->payload ? strlen(given->payload) : 0},
        .time_unix_ns = from->time_unix_ns ? from->time_unix_ns : host->unix_now,
        .position = i,
        .headers = given->headers,
        .header_count = from->header_count,
    };
}

pl_status stub_write_records(stub *host, const stub_record *records, size_t count)
{
    assert_true(count > 0);
    (void)pthread_mutex_lock(&host->private->lock);
    host->batches = stub_grow(host->batches, host->batch_count, &host->batch_room, sizeof *host->batches);
    stub_batch *batch = &host->batches[host->batch_count];
    batch->given = stub_alloc(count * sizeof *batch->given);
    batch->pointers = stub_alloc(count * sizeof *batch->pointers);
    for (size_t i = 0; i < count; i++) {
        give(host, &batch->given[i], &records[i], i);
        batch->pointers[i] = &batch->given[i].record;
    }
    batch->batch = (pl_batch){
        .struct_size = sizeof batch->batch,
        .count = (uint32_t)count,
        .ticket = host->batch_count++,
        .records = batch->pointers,
    };
    pl_batch given = batch->batch;
    (void)pthread_mutex_unlock(&host->private->lock);
    stub_reader_forget(host);
    int64_t deadline = host->host.now_ns(&host->host) + WRITE_NS;
    return host->component->sink->write(host->self, &given, deadline, fresh_error(host));
}

pl_status stub_write(stub *host, const char *const *payloads)
{
    size_t count = 0;
    while (payloads[count]) {
        count++;
    }
    stub_record *records = stub_alloc(count * sizeof *records);
    for (size_t i = 0; i < count; i++) {
        records[i].payload = payloads[i];
    }
    pl_status status = stub_write_records(host, records, count);
    free(records);
    return status;
}

pl_status stub_flush(stub *host)
{
    const pl_sink *sink = host->component->sink;
    int64_t deadline = host->host.now_ns(&host->host) + WRITE_NS;
    return sink->flush ? sink->flush(host->self, deadline, fresh_error(host)) : PL_OK;
}

static const stub_given *given_in(const stub *host, uint64_t ticket, size_t i)
{
    assert_true(ticket < host->batch_count);
    assert_true(i < host->batches[ticket].batch.count);
    return &host->batches[ticket].given[i];
}

int stub_settled_in(const stub *host, uint64_t ticket, size_t i)
{
    (void)pthread_mutex_lock(&host->private->lock);
    int state = given_in(host, ticket, i)->state;
    (void)pthread_mutex_unlock(&host->private->lock);
    return state;
}

int stub_settled(const stub *host, size_t i)
{
    return stub_settled_in(host, host->batch_count - 1, i);
}

const char *stub_settled_why(const stub *host, size_t i)
{
    return given_in(host, host->batch_count - 1, i)->why;
}

size_t stub_count(const stub *host, int state)
{
    size_t count = 0;
    for (size_t i = 0; i < host->batches[host->batch_count - 1].batch.count; i++) {
        count += stub_settled(host, i) == state;
    }
    return count;
}
