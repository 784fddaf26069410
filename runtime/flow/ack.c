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

void pl_ack_add(pl_ack *ack, uint32_t references)
{
    if (ack && references)
        atomic_fetch_add_explicit(&ack->word, references, memory_order_relaxed);
}

typedef struct pl_ack_group {
    pl_ack ack; /* first: cast back */
    pl_ack_groups *groups;
    struct pl_ack_group *next, **to_this; /* in the list of groups that are not done */
} pl_ack_group;

void pl_ack_group_drop(pl_ack *ack)
{
    pl_ack_group *group = (pl_ack_group *)ack;
    pthread_mutex_lock(&group->groups->lock);
    *group->to_this = group->next;
    if (group->next)
        group->next->to_this = group->to_this;
    pthread_mutex_unlock(&group->groups->lock);
    pl_free(ack->parents);
    pl_free(group);
}

static void finish_group(pl_ack *group, pl_outcome outcome)
{
    for (uint32_t i = 0; i < group->parent_count; i++)
        pl_ack_done(group->parents[i], outcome);
    pl_ack_group_drop(group);
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
    uint32_t met = (uint32_t)outcome << OUTCOME_SHIFT;
    uint32_t old = atomic_load_explicit(&ack->word, memory_order_acquire);
    if ((old & PL_ACK_REFERENCES) == 1) { /* ours is the last one, so nobody else writes the word */
        old |= met;
        atomic_store_explicit(&ack->word, old & ~(uint32_t)PL_ACK_REFERENCES, memory_order_release);
    } else {
        if (met)
            atomic_fetch_or_explicit(&ack->word, met, memory_order_relaxed);
        old = atomic_fetch_sub_explicit(&ack->word, 1, memory_order_acq_rel);
        if ((old & PL_ACK_REFERENCES) != 1)
            return;
    }
    if (source)
        atomic_store_explicit(&source->settled, true, memory_order_release);
    else
        finish_group(ack, strongest(old >> OUTCOME_SHIFT));
}

void pl_ack_pass(pl_ack *ack, uint32_t references)
{
    if (references == 0)
        pl_ack_done(ack, PL_OUTCOME_FILTERED);
    else
        pl_ack_add(ack, references - 1);
}

void pl_ack_hold(pl_ack *input)
{
    atomic_fetch_add_explicit(&input->holds, 1, memory_order_relaxed);
}

void pl_ack_release(pl_ack *input)
{
    struct pl_stage *source = input->source;
    if (atomic_fetch_sub_explicit(&input->holds, 1, memory_order_acq_rel) == 1)
        atomic_store_explicit(&source->settled, true, memory_order_release);
}

bool pl_ack_settled(const pl_ack *ack, pl_outcome *outcome)
{
    uint32_t word = atomic_load_explicit(&ack->word, memory_order_acquire);
    if ((word & PL_ACK_REFERENCES) != 0 || atomic_load_explicit(&ack->holds, memory_order_acquire) != 0)
        return false;
    *outcome = strongest(word >> OUTCOME_SHIFT);
    return true;
}

bool pl_ack_groups_init(pl_ack_groups *groups)
{
    groups->first = NULL;
    return pthread_mutex_init(&groups->lock, NULL) == 0;
}

void pl_ack_groups_release(pl_ack_groups *groups)
{
    while (groups->first)
        pl_ack_group_drop(&groups->first->ack);
    pthread_mutex_destroy(&groups->lock);
}

pl_ack *pl_ack_group_new(pl_ack_groups *groups)
{
    pl_ack_group *group = pl_calloc(1, sizeof *group);
    if (!group)
        return NULL;
    atomic_init(&group->ack.word, 1);
    group->groups = groups;
    pthread_mutex_lock(&groups->lock);
    group->next = groups->first;
    group->to_this = &groups->first;
    if (group->next)
        group->next->to_this = &group->next;
    groups->first = group;
    pthread_mutex_unlock(&groups->lock);
    return &group->ack;
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
