#include "match.h"

#include <ctype.h>

enum { CHAR, ANY, SET, OPEN, POSITION, CLOSE, BACKREF, BALANCED, FRONTIER, END_ANCHOR };
enum { ONCE, OPTIONAL, GREEDY, GREEDY_ONE, LAZY }; /* nothing ? * + - */

/* ---- reading a pattern ---------------------------------------------------- */

static void set_add(uint8_t set[32], unsigned char byte)
{
    set[byte >> 3] = (uint8_t)(set[byte >> 3] | 1u << (byte & 7));
}

static bool set_has(const uint8_t set[32], unsigned char byte)
{
    return set[byte >> 3] & 1u << (byte & 7);
}

static bool in_class(char letter, int byte)
{
    switch (letter) {
    case 'a':
        return isalpha(byte);
    case 'c':
        return iscntrl(byte);
    case 'd':
        return isdigit(byte);
    case 'g':
        return isgraph(byte);
    case 'l':
        return islower(byte);
    case 'p':
        return ispunct(byte);
    case 's':
        return isspace(byte);
    case 'u':
        return isupper(byte);
    case 'w':
        return isalnum(byte);
    case 'z': /* not in the manual any more, but in Lua 5.4 */
        return byte == 0;
    default:
        return isxdigit(byte);
    }
}

/* %x for a letter that names a class, in either case. */
static bool set_add_class(uint8_t set[32], char letter)
{
    char lower = (char)tolower((unsigned char)letter);
    if (!strchr("acdglpsuwxz", lower) || !letter)
        return false;
    bool negated = isupper((unsigned char)letter);
    for (int byte = 0; byte < 256; byte++)
        if (in_class(lower, byte) != negated)
            set_add(set, (unsigned char)byte);
    return true;
}

typedef struct reader {
    const char *at, *end;
    const char *problem;
    uint8_t open[PL_PATTERN_CAPTURES]; /* indices of captures not yet closed */
    uint8_t depth;
    bool closed[PL_PATTERN_CAPTURES];
} reader;

/* After '[': up to and with the ']'. */
static bool read_set(reader *in, uint8_t set[32])
{
    bool negated = in->at < in->end && *in->at == '^';
    in->at += negated;
    for (bool first = true;; first = false) {
        if (in->at >= in->end)
            return in->problem = "malformed pattern (missing ']')", false;
        char c = *in->at++;
        if (c == ']' && !first)
            break;
        if (c == '%') {
            if (in->at >= in->end)
                return in->problem = "malformed pattern (missing ']')", false;
            c = *in->at++;
            if (!set_add_class(set, c))
                set_add(set, (unsigned char)c);
        } else if (in->end - in->at >= 2 && in->at[0] == '-' && in->at[1] != ']') {
            for (int byte = (unsigned char)c; byte <= (unsigned char)in->at[1]; byte++)
                set_add(set, (unsigned char)byte);
            in->at += 2;
        } else {
            set_add(set, (unsigned char)c);
        }
    }
    for (size_t i = 0; negated && i < 32; i++)
        set[i] = (uint8_t)~set[i];
    return true;
}

static bool read_back_reference(reader *in, pl_pattern *pattern, pl_pattern_item *item, char digit)
{
    uint8_t index = (uint8_t)(digit - '1');
    if (digit == '0' || index >= pattern->captures || !in->closed[index])
        return in->problem = "malformed pattern (%1 to %9 refer to captures closed before them)", false;
    item->kind = BACKREF;
    item->a = index;
    return true;
}

/* After '%'. */
static bool read_escape(reader *in, pl_pattern *pattern, pl_pattern_item *item)
{
    if (in->at >= in->end)
        return in->problem = "malformed pattern (ends with '%')", false;
    char c = *in->at++;
    if (isdigit((unsigned char)c))
        return read_back_reference(in, pattern, item, c);
    if (c == 'b') {
        if (in->end - in->at < 2)
            return in->problem = "malformed pattern (%b needs two characters)", false;
        item->kind = BALANCED;
        item->a = (uint8_t)in->at[0];
        item->b = (uint8_t)in->at[1];
        in->at += 2;
        return true;
    }
    if (c == 'f') {
        if (in->at >= in->end || *in->at != '[')
            return in->problem = "malformed pattern (%f needs a set: %f[%w])", false;
        in->at++;
        item->kind = FRONTIER;
        return read_set(in, item->set);
    }
    item->kind = SET;
    if (!set_add_class(item->set, c)) {
        item->kind = CHAR;
        item->a = (uint8_t)c;
    }
    return true;
}

static bool read_open(reader *in, pl_pattern *pattern, pl_pattern_item *item)
{
    if (pattern->captures >= PL_PATTERN_CAPTURES)
        return in->problem = "too many captures in a pattern (32 at most)", false;
    item->a = pattern->captures++;
    if (in->at < in->end && *in->at == ')') {
        in->at++;
        item->kind = POSITION;
        in->closed[item->a] = true;
        return true;
    }
    item->kind = OPEN;
    in->open[in->depth++] = item->a;
    return true;
}

static bool read_item(reader *in, pl_pattern *pattern, pl_pattern_item *item)
{
    char c = *in->at++;
    switch (c) {
    case '(':
        return read_open(in, pattern, item);
    case ')':
        if (!in->depth)
            return in->problem = "malformed pattern (')' without '(')", false;
        item->kind = CLOSE;
        item->a = in->open[--in->depth];
        in->closed[item->a] = true;
        return true;
    case '$':
        if (in->at == in->end) {
            item->kind = END_ANCHOR;
            return true;
        }
        break;
    case '%':
        return read_escape(in, pattern, item);
    case '[':
        item->kind = SET;
        return read_set(in, item->set);
    case '.':
        item->kind = ANY;
        return true;
    default:
        break;
    }
    item->kind = CHAR;
    item->a = (uint8_t)c;
    return true;
}

static void read_repeat(reader *in, pl_pattern_item *item)
{
    static const char signs[] = "?*+-";
    const char *sign = in->at < in->end && *in->at ? strchr(signs, *in->at) : NULL;
    if (item->kind > SET || !sign)
        return;
    item->repeat = (uint8_t)(OPTIONAL + (sign - signs));
    in->at++;
}

const char *pl_pattern_compile(pl_pattern *pattern, pl_str text, bool anchors)
{
    reader in = {.at = text.ptr, .end = text.ptr + text.len};
    pattern->count = 0;
    pattern->captures = 0;
    pattern->anchored = anchors && text.len > 0 && text.ptr[0] == '^';
    in.at += pattern->anchored;
    while (in.at < in.end) {
        if (pattern->count == PL_PATTERN_ITEMS)
            return "pattern too long (256 characters and classes at most)";
        pl_pattern_item *item = &pattern->items[pattern->count++];
        memset(item, 0, sizeof *item);
        if (!read_item(&in, pattern, item))
            return in.problem;
        read_repeat(&in, item);
    }
    return in.depth ? "malformed pattern (unfinished capture)" : NULL;
}

/* ---- matching -------------------------------------------------------------- */

void pl_matcher_init(pl_matcher *matcher, const pl_pattern *pattern, pl_str subject)
{
    matcher->pattern = pattern;
    matcher->subject = subject;
    matcher->steps_left = PL_MATCH_STEPS + (uint64_t)PL_MATCH_STEPS_PER_BYTE * subject.len;
    matcher->exhausted = false;
}

/* True: go on. */
static bool spend(pl_matcher *m)
{
    if (m->exhausted)
        return false;
    if (m->steps_left == 0 || ((--m->steps_left & 0xffff) == 0 && m->tick && m->tick(m->self)))
        m->exhausted = true;
    return !m->exhausted;
}

static bool single(const pl_pattern_item *item, char c)
{
    switch (item->kind) {
    case CHAR:
        return (uint8_t)c == item->a;
    case ANY:
        return true;
    default:
        return set_has(item->set, (unsigned char)c);
    }
}

static const char *match(pl_matcher *m, uint32_t index, const char *s);

static const char *match_greedy(pl_matcher *m, uint32_t index, const char *s, size_t least)
{
    const pl_pattern_item *item = &m->pattern->items[index];
    const char *end = m->subject.ptr + m->subject.len;
    size_t taken = 0;
    while (s + taken < end && single(item, s[taken]) && spend(m))
        taken++;
    for (; taken + 1 > least && !m->exhausted; taken--) {
        const char *found = match(m, index + 1, s + taken);
        if (found)
            return found;
        if (taken == 0)
            break;
    }
    return NULL;
}

static const char *match_lazy(pl_matcher *m, uint32_t index, const char *s)
{
    const pl_pattern_item *item = &m->pattern->items[index];
    const char *end = m->subject.ptr + m->subject.len;
    while (spend(m)) {
        const char *found = match(m, index + 1, s);
        if (found)
            return found;
        if (s >= end || !single(item, *s))
            break;
        s++;
    }
    return NULL;
}

static const char *match_balanced(pl_matcher *m, const pl_pattern_item *item, const char *s)
{
    const char *end = m->subject.ptr + m->subject.len;
    if (s == end || (uint8_t)*s != item->a)
        return NULL;
    size_t depth = 1;
    while (++s < end && spend(m)) {
        if ((uint8_t)*s == item->b) {
            if (--depth == 0)
                return s + 1;
        } else if ((uint8_t)*s == item->a) {
            depth++;
        }
    }
    return NULL;
}

static const char *match_back(pl_matcher *m, const pl_pattern_item *item, const char *s)
{
    pl_capture capture = m->captures[item->a];
    if (capture.len == PL_CAPTURE_POSITION)
        return s;
    size_t len = (size_t)capture.len, left = (size_t)(m->subject.ptr + m->subject.len - s);
    return len <= left && memcmp(s, capture.start, len) == 0 ? s + len : NULL;
}

static bool at_frontier(const pl_matcher *m, const pl_pattern_item *item, const char *s)
{
    char before = s == m->subject.ptr ? '\0' : s[-1];
    char here = s == m->subject.ptr + m->subject.len ? '\0' : *s;
    return !set_has(item->set, (unsigned char)before) && set_has(item->set, (unsigned char)here);
}

/* A capture changes only for what follows: put back when that fails. */
static const char *match_capture(pl_matcher *m, uint32_t index, const char *s)
{
    const pl_pattern_item *item = &m->pattern->items[index];
    pl_capture *capture = &m->captures[item->a], before = *capture;
    if (item->kind == CLOSE)
        capture->len = s - capture->start;
    else
        *capture = (pl_capture){s, item->kind == OPEN ? PL_CAPTURE_OPEN : PL_CAPTURE_POSITION};
    const char *found = match(m, index + 1, s);
    if (!found)
        *capture = before;
    return found;
}

/* The rest of the match when *go_on comes back false; else where the next item is to be tried. */
static const char *match_single(pl_matcher *m, uint32_t index, const char *s, bool *go_on)
{
    const pl_pattern_item *item = &m->pattern->items[index];
    switch (item->repeat) {
    case GREEDY:
    case GREEDY_ONE:
        *go_on = false;
        return match_greedy(m, index, s, item->repeat == GREEDY_ONE);
    case LAZY:
        *go_on = false;
        return match_lazy(m, index, s);
    default:
        break;
    }
    bool fits = s < m->subject.ptr + m->subject.len && single(item, *s);
    if (item->repeat == OPTIONAL) {
        const char *found = fits ? match(m, index + 1, s + 1) : NULL;
        *go_on = !found;
        return found ? found : s;
    }
    *go_on = fits;
    return fits ? s + 1 : NULL;
}

/* Recursion is as deep as the pattern has items, so at most PL_PATTERN_ITEMS. */
static const char *match(pl_matcher *m, uint32_t index, const char *s)
{
    for (; index < m->pattern->count; index++) {
        const pl_pattern_item *item = &m->pattern->items[index];
        bool go_on = true;
        if (!spend(m))
            return NULL;
        switch (item->kind) {
        case OPEN:
        case POSITION:
        case CLOSE:
            return match_capture(m, index, s);
        case BACKREF:
            s = match_back(m, item, s);
            break;
        case BALANCED:
            s = match_balanced(m, item, s);
            break;
        case FRONTIER:
            s = at_frontier(m, item, s) ? s : NULL;
            break;
        case END_ANCHOR:
            s = s == m->subject.ptr + m->subject.len ? s : NULL;
            break;
        default:
            s = match_single(m, index, s, &go_on);
            if (!go_on)
                return s;
            break;
        }
        if (!s)
            return NULL;
    }
    return s;
}

const char *pl_match_at(pl_matcher *matcher, const char *start)
{
    const char *end = match(matcher, 0, start);
    return matcher->exhausted ? NULL : end;
}
