/* The account at the end of a run, as JSON. */
#ifndef PL_CLI_SUMMARY_H
#define PL_CLI_SUMMARY_H
#include <graph/graph.h>

/* {"status":0,"pipelines":{NAME:{"balanced":true,"halted_by":..?,"error":..?,"components":{NAME:{"kind":"source","read":..,
 * "delivered":..,"filtered":..,"dead_lettered":..,"in_flight":..,"born":..,"replayed":..,"retries":..,"errors":..,
 * "circuit_opened":..,"bytes":..,"metrics":{..}}}}}}. false: the file could not be written (logged). */
bool pl_summary_write(const char *path, pl_graph *const *graphs, size_t count, int status);
#endif
