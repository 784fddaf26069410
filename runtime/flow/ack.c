#include <base/mem.h>
#include <flow/ack.h>
#include <flow/stage.h>

enum { OUTCOME_SHIFT = 24 };

pl_ack_block *pl_ack_block_new(uint32_t capacity)
{
    pl_ack_block *block = pl_calloc(1, sizeof *block + capacity * sizeof block->acks[0]);
    if (block)
        block->capacity = capacity;
    return block;
}

pl_ack *pl_ack_block_add(pl_ack_block *block, struct pl_stage *source, uint64_t position)
{
    pl_ack *ack = &block->acks[block->count++];
    atomic_init(&ack->word, 1);
    atomic_init(&ack->holds, 0);
    ack->position = position;
    ack->source = source;
    ack->block = block;
    return ack;
}

bool pl_ack_block_idle(const pl_ack_block *block)
{
    pl_outcome ignored;
    for (uint32_t i = 0; i < block->count; i++)
        if (!pl_ack_settled(&block->acks[i], &ignored))
            return false;
    return true;
}

void pl_ack_add(pl_ack *ack, uint32_t references)
{
    if (ack && references)
        atomic_fetch_add_explicit(&ack->word, references, memory_order_relaxed);
}

static void finish_group(pl_ack *group, pl_outcome outcome)
{
    for (uint32_t i = 0; i < group->parent_count; i++)
        pl_ack_done(group->parents[i], outcome);
    pl_free(group->parents);
    pl_free(group);
}

static pl_outcome strongest(uint32_t met)
{
    return met & PL_OUTCOME_DEAD        ? PL_OUTCOME_DEAD
           : met & PL_OUTCOME_DELIVERED ? PL_OUTCOME_DELIVERED
                                        : PL_OUTCOME_FILTERED;
}

void pl_ack_done(pl_ack *ack, pl_outcome outcome)
{
    if (!ack)
        return;
    struct pl_stage *source = ack->source;
    if (outcome != PL_OUTCOME_FILTERED)
        atomic_fetch_or_explicit(&ack->word, (uint32_t)outcome << OUTCOME_SHIFT, memory_order_relaxed);
    uint32_t old = atomic_fetch_sub_explicit(&ack->word, 1, memory_order_acq_rel);
    if ((old & 0xFFFFFFu) != 1)
        return;
    if (source)
        pl_stage_note(source);
    else
        finish_group(ack, strongest(old >> OUTCOME_SHIFT));
}

void pl_ack_hold(pl_ack *input)
{
    atomic_fetch_add_explicit(&input->holds, 1, memory_order_relaxed);
}

void pl_ack_release(pl_ack *input)
{
    struct pl_stage *source = input->source;
    if (atomic_fetch_sub_explicit(&input->holds, 1, memory_order_acq_rel) == 1)
        pl_stage_note(source);
}

bool pl_ack_settled(const pl_ack *ack, pl_outcome *outcome)
{
    uint32_t word = atomic_load_explicit(&ack->word, memory_order_acquire);
    if ((word & 0xFFFFFFu) != 0 || atomic_load_explicit(&ack->holds, memory_order_acquire) != 0)
        return false;
    *outcome = strongest(word >> OUTCOME_SHIFT);
    return true;
}

pl_ack *pl_ack_group_new(void)
{
    pl_ack *group = pl_calloc(1, sizeof *group);
    if (group)
        atomic_init(&group->word, 1);
    return group;
}

bool pl_ack_group_add(pl_ack *group, pl_ack *parent)
{
    if (!parent)
        return true;
    if (group->parent_count == group->parent_capacity) {
        uint32_t capacity = group->parent_capacity ? group->parent_capacity * 2 : 2;
        pl_ack **grown = pl_realloc(group->parents, capacity, sizeof *grown);
        if (!grown)
            return false;
        group->parents = grown;
        group->parent_capacity = capacity;
    }
    group->parents[group->parent_count++] = parent;
    pl_ack_add(parent, 1);
    return true;
}
