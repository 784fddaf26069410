/* A source with a disk buffer: what the plugin hands over goes to disk first, is committed to the plugin once it is
 * synced there, and from there into the flow as far as that takes it. The source stage's own thread only. */
#ifndef PL_FLOW_SOURCE_BUFFER_H
#define PL_FLOW_SOURCE_BUFFER_H
#include <flow/source.h>

/* Takes setup.buffer; does nothing where there is none. false: no memory, and the buffer is still the caller's. */
bool pl_source_buffer_attach(pl_source_stage *source);
/* Closes the buffer. */
void pl_source_buffer_free(pl_source_stage *source);
/* The step of such a source while it runs; drained: nothing waits in the outbox. */
pl_stepped pl_source_buffer_run(pl_source_stage *source, bool drained, int64_t now_ns);
/* The pipeline stops: syncs what is pending, and hands over what is not read yet, if that is little. The rest stays for
 * the next start. false: call again when the outbox is drained. */
bool pl_source_buffer_stop(pl_source_stage *source, bool drained);
/* Takes an emission; its lane and position are not read. As the host's emit: false: return from next or poll now. */
bool pl_source_keep(pl_source_stage *source, pl_lane *lane, uint64_t position, pl_kept_kind kind,
                    const pl_emission *emission);
/* As much is pending as should be synced at once, or the pipeline stops. */
bool pl_source_buffer_taken(const pl_source_stage *source);
/* All that the plugin handed over is on disk. */
bool pl_source_buffer_synced(const pl_source_stage *source);
/* The lane of that name, if it was opened: a lane stays, since the buffer may still hold records of it. */
pl_lane *pl_source_buffer_find(pl_source_stage *source, pl_str name);
bool pl_source_buffer_adopt(pl_source_stage *source, pl_lane *lane); /* false: no memory */
/* lane->settled_position has moved. */
void pl_source_buffer_settled(pl_source_stage *source, pl_lane *lane);
/* For the plugin all is settled that is synced. The lane itself stays open. */
void pl_source_buffer_close_lane(pl_source_stage *source, pl_lane *lane, uint64_t *settled_position);
#endif
