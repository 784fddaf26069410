/* A component at work: what the host gives it. */
#include <plugin/instance.h>
#include <record/record.h>
#include <stdlib.h>
#include <unistd.h>
/* cmocka.h wants these before itself. */
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

typedef struct guest {
    const pl_host *host;
    pl_metric *counter, *gauge, *histogram;
    int created, destroyed, interrupted;
    bool refuses;
} guest;

static pl_status create(const pl_host *host, const void *config, void **self, pl_error *error)
{
    guest *g = (guest *)(uintptr_t)config;
    g->host = host;
    g->created++;
    if (g->refuses)
        return pl_fail(error, PL_HALT, "no");
    g->counter = host->metric(host, PL_COUNTER, "reconnects", "1", "How often.");
    g->gauge = host->metric(host, PL_GAUGE, "lag", "records", "How far.");
    g->histogram = host->metric(host, PL_HISTOGRAM, "latency", "s", "How long.");
    *self = g;
    return PL_OK;
}

static void interrupt(void *self)
{
    ((guest *)self)->interrupted++;
}

static void destroy(void *self)
{
    ((guest *)self)->destroyed++;
}

static pl_status next(void *self, int64_t deadline_ns, int64_t *resume_ns, pl_error *error)
{
    (void)self;
    (void)deadline_ns;
    (void)resume_ns;
    (void)error;
    return PL_END;
}

static pl_instance *open_instance(guest *g, const char *data_dir)
{
    static const pl_source source = {sizeof source, 0, next, NULL};
    static const pl_component component = {.struct_size = sizeof component,
                                           .option_size = sizeof(pl_option),
                                           .name = "guest",
                                           .create = create,
                                           .interrupt = interrupt,
                                           .destroy = destroy,
                                           .source = &source};
    pl_error error = {.struct_size = sizeof error};
    pl_instance_setup setup = {.name = "prices",
                               .component = &component,
                               .config = g,
                               .clock = &pl_system_clock,
                               .data_dir = data_dir,
                               .budget_bytes = 4711};
    return pl_instance_new(&setup, &error);
}

static void test_life(void **state)
{
    (void)state;
    guest g = {0};
    pl_instance *instance = open_instance(&g, NULL);
    assert_non_null(instance);
    assert_string_equal(g.host->instance, "prices");
    assert_string_equal(pl_instance_name(instance), "prices");
    assert_ptr_equal(pl_instance_self(instance), &g);
    pl_instance_interrupt(instance);
    pl_instance_interrupt(instance);
    assert_int_equal(g.interrupted, 2);
    /* Not part of a flow: every call is harmless. */
    pl_emission emission = {.struct_size = sizeof emission};
    uint64_t settled = 0;
    assert_false(g.host->emit(g.host, &emission));
    assert_int_equal(g.host->lane_open(g.host, PL_S("x")), 0);
    g.host->lane_close(g.host, 1, 0, &settled);
    assert_int_equal(settled, UINT64_MAX);
    g.host->settle(g.host, 1, 0, 1, NULL);
    g.host->wake(g.host);
    pl_instance_free(&instance);
    assert_null(instance);
    assert_int_equal(g.destroyed, 1);
    pl_instance_free(&instance);
    g = (guest){.refuses = true};
    assert_null(open_instance(&g, NULL));
    assert_int_equal(g.destroyed, 0); /* there was nothing to destroy */
}

static pl_record record_of(const char *padded, size_t len)
{
    return (pl_record){.payload = {padded, len}, .key = PL_S("k"), .lane = 3, .position = 9, .time_unix_ns = 5};
}

/* Payloads are followed by readable bytes, as in a batch. */
static const char first_json[256] =
    "{\"pair\":\"ETH-USD\",\"quotes\":{\"USD\":{\"price\":1.50}},\"n\":7,\"none\":null}";
static const char second_json[256] = "{\"pair\":\"BTC-USD\",\"n\":8}";

static void test_fields_of_records(void **state)
{
    (void)state;
    guest g = {0};
    pl_value value;
    pl_instance *instance = open_instance(&g, NULL);
    pl_record one = record_of(first_json, strlen(first_json));
    pl_record two = record_of(second_json, strlen(second_json));
    assert_true(g.host->field(g.host, &one, PL_S("quotes.USD.price"), &value));
    assert_int_equal(value.type, PL_DECIMAL);
    assert_int_equal(value.as.s.len, 4);
    assert_memory_equal(value.as.s.ptr, "1.50", 4);
    assert_true(g.host->field(g.host, &two, PL_S("n"), &value));
    assert_int_equal(value.as.i, 8);
    assert_true(g.host->field(g.host, &one, PL_S("n"), &value));
    assert_int_equal(value.as.i, 7);
    assert_true(g.host->field(g.host, &one, PL_S("none"), &value));
    assert_int_equal(value.type, PL_NIL);
    assert_false(g.host->field(g.host, &one, PL_S("absent"), &value));
    assert_false(g.host->field(g.host, &one, PL_S("a..b"), &value)); /* no path */
    assert_false(g.host->field(g.host, &one, PL_S("pair.deeper"), &value));
    for (int i = 0; i < 200; i++) { /* more paths than are remembered */
        char path[16];
        (void)snprintf(path, sizeof path, "x%d", i);
        assert_false(g.host->field(g.host, &one, PL_S(path), &value));
    }
    assert_true(g.host->field(g.host, &one, PL_S("n"), &value));
    pl_str payload = g.host->payload(g.host, &one);
    assert_ptr_equal(payload.ptr, first_json);
    const pl_emission *origin = g.host->origin(g.host, &one);
    assert_int_equal(origin->lane, 3);
    assert_int_equal(origin->position, 9);
    assert_int_equal(origin->time_unix_ns, 5);
    pl_instance_free(&instance);
}

/* A record at the address of one that is gone is another record. */
static void test_nothing_stale(void **state)
{
    (void)state;
    guest g = {0};
    pl_value value;
    pl_instance *instance = open_instance(&g, NULL);
    pl_record record = record_of(first_json, strlen(first_json));
    assert_true(g.host->field(g.host, &record, PL_S("n"), &value));
    assert_int_equal(value.as.i, 7);
    pl_instance_release_answers(instance);
    record = record_of(second_json, strlen(second_json));
    assert_true(g.host->field(g.host, &record, PL_S("n"), &value));
    assert_int_equal(value.as.i, 8);
    pl_instance_free(&instance);
}

static void test_tombstones_have_no_fields(void **state)
{
    (void)state;
    guest g = {0};
    pl_value value;
    pl_str text;
    pl_instance *instance = open_instance(&g, NULL);
    pl_record record = record_of(NULL, 0);
    assert_false(g.host->field(g.host, &record, PL_S("n"), &value));
    assert_null(g.host->payload(g.host, &record).ptr);
    assert_false(g.host->render(g.host, &record, "price.{n}", &text));
    assert_true(g.host->render(g.host, &record, "plain", &text));
    pl_instance_free(&instance);
}

static void test_templates(void **state)
{
    (void)state;
    guest g = {0};
    pl_str text;
    pl_instance *instance = open_instance(&g, NULL);
    pl_record record = record_of(first_json, strlen(first_json));
    assert_true(g.host->render(g.host, &record, "price.{pair}", &text));
    assert_memory_equal(text.ptr, "price.ETH-USD", 13);
    assert_true(g.host->render(g.host, &record, "{n}{n}", &text));
    assert_memory_equal(text.ptr, "77", 2);
    assert_false(g.host->render(g.host, &record, "{absent}", &text));
    assert_false(g.host->render(g.host, &record, "{broken", &text));
    assert_true(g.host->render(g.host, &record, "price.{pair}", &text));
    pl_instance_free(&instance);
}

static void test_metrics(void **state)
{
    (void)state;
    guest g = {0};
    pl_instance *instance = open_instance(&g, NULL);
    g.host->observe(g.counter, 2);
    g.host->observe(g.counter, 3);
    g.host->observe(g.gauge, 9);
    g.host->observe(g.gauge, 4);
    g.host->observe(g.histogram, 0.5);
    g.host->observe(g.histogram, 0.25);
    g.host->observe(NULL, 1);
    const pl_metrics *metrics = pl_instance_metrics(instance);
    const pl_metric *counter = pl_metrics_at(metrics, 0);
    assert_string_equal(counter->name, "reconnects");
    assert_true(atomic_load(&counter->value) == 5 && atomic_load(&counter->count) == 2);
    assert_true(atomic_load(&pl_metrics_find(metrics, "lag")->value) == 4);
    assert_true(atomic_load(&pl_metrics_find(metrics, "latency")->value) == 0.75);
    assert_null(pl_metrics_at(metrics, 3));
    for (int i = 0; i < 100; i++) { /* beyond the maximum they count into the void */
        char name[16];
        (void)snprintf(name, sizeof name, "more_%d", i);
        g.host->observe(g.host->metric(g.host, PL_COUNTER, name, "1", ""), 1);
    }
    assert_non_null(pl_metrics_at(metrics, PL_METRICS_MAX - 1));
    assert_null(pl_metrics_at(metrics, PL_METRICS_MAX));
    pl_instance_free(&instance);
}

static void test_json_documents(void **state)
{
    (void)state;
    guest g = {0};
    pl_value value;
    pl_doc *doc = NULL;
    pl_error error = {.struct_size = sizeof error};
    pl_instance *instance = open_instance(&g, NULL);
    const pl_json *json = g.host->extension(g.host, "pl.json/1");
    assert_null(g.host->extension(g.host, "pl.nonsense/1"));
    assert_int_equal(json->parse(g.host, PL_S("{\"a\":[1,2.50,{\"b\":\"x\"}]}"), &doc, &error), PL_OK);
    assert_int_equal(json->count(doc, PL_S("a")), 3);
    assert_int_equal(json->count(doc, PL_S("a[2]")), -1);
    assert_int_equal(json->count(doc, PL_S("nothing")), -1);
    assert_true(json->get(doc, PL_S("a[1]"), &value));
    assert_int_equal(value.type, PL_DECIMAL);
    assert_int_equal(json->parse(g.host, PL_S("{\"a\":tru}"), &doc, &error), PL_FAILED);
    assert_int_equal(error.error_class, PL_REJECT);
    int opened = 0;
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(json->valid(g.host, PL_S("{\"a\":1}"), &error), PL_OK);
        assert_int_equal(json->valid(g.host, PL_S("{\"a\":}"), &error), PL_FAILED);
    }
    while (opened < 1000 && json->parse(g.host, PL_S("[1]"), &doc, &error) == PL_OK)
        opened++;
    assert_in_range(opened, 10, 100); /* bounded */
    pl_instance_release_answers(instance);
    assert_int_equal(json->parse(g.host, PL_S("[1]"), &doc, &error), PL_OK);
    const pl_budget *budget = g.host->extension(g.host, "pl.budget/1");
    assert_int_equal(budget->bytes(g.host), 4711);
    pl_instance_free(&instance);
}

static void test_store_survives(void **state)
{
    (void)state;
    char dir[] = "/tmp/plumbline-store-XXXXXX";
    assert_non_null(mkdtemp(dir));
    guest g = {0};
    pl_str value;
    pl_error error = {.struct_size = sizeof error};
    pl_instance *instance = open_instance(&g, NULL);
    assert_null(g.host->extension(g.host, "pl.store/1")); /* nowhere to keep it */
    pl_instance_free(&instance);
    instance = open_instance(&g, dir);
    const pl_store *store = g.host->extension(g.host, "pl.store/1");
    assert_false(store->get(g.host, PL_S("offset"), &value));
    assert_int_equal(store->put(g.host, PL_S("offset"), PL_S("12"), &error), PL_OK);
    assert_int_equal(store->put(g.host, PL_S("offset"), PL_S("345"), &error), PL_OK);
    assert_int_equal(store->put(g.host, PL_S(""), PL_S(""), &error), PL_OK);
    char long_key[300];
    memset(long_key, 'k', sizeof long_key);
    assert_int_equal(store->put(g.host, (pl_str){long_key, 256}, PL_S("x"), &error), PL_FAILED);
    assert_int_equal(store->put(g.host, (pl_str){long_key, 255}, PL_S("x"), &error), PL_OK);
    pl_instance_free(&instance);
    instance = open_instance(&g, dir);
    store = g.host->extension(g.host, "pl.store/1");
    assert_true(store->get(g.host, PL_S("offset"), &value));
    assert_int_equal(value.len, 3);
    assert_memory_equal(value.ptr, "345", 3);
    assert_true(store->get(g.host, (pl_str){long_key, 255}, &value));
    assert_true(store->get(g.host, PL_S(""), &value));
    assert_int_equal(value.len, 0);
    assert_false(store->get(g.host, PL_S("offse"), &value));
    pl_instance_free(&instance);
    char command[128];
    (void)snprintf(command, sizeof command, "rm -r '%s'", dir);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_life),           cmocka_unit_test(test_fields_of_records),
        cmocka_unit_test(test_nothing_stale),  cmocka_unit_test(test_tombstones_have_no_fields),
        cmocka_unit_test(test_templates),      cmocka_unit_test(test_metrics),
        cmocka_unit_test(test_json_documents), cmocka_unit_test(test_store_survives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
