/* Tests that are run for many seeds. PL_SEEDS sets how many; PL_SEED runs just one.
 *
 *     static void once(void *self, uint64_t seed) { ... }
 *     (void)seeds_run(once, &world, 500);             in the test
 *     cmocka_unit_test_teardown(test, seeds_tell)     names the seed that failed
 */
#ifndef TEST_FLOW_SUPPORT_SEEDS_H
#define TEST_FLOW_SUPPORT_SEEDS_H
#include <stdint.h>

/* once(self, seed) for so many seeds from 0, or as the environment says; under ThreadSanitizer for a tenth of them, for
 * it has little to find in one thread and takes forty times as long. Returns for how many. */
uint64_t seeds_run(void (*once)(void *self, uint64_t seed), void *self, uint64_t count);
/* The test's teardown. */
int seeds_tell(void **state);
#endif
