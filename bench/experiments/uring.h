/* io_uring through plain system calls: a ring for one thread. */
#pragma once
#include "turns.h"
#include <linux/io_uring.h>
#include <sys/syscall.h>

struct uring {
	int fd;
	unsigned entries, to_submit, tail; /* tail: of what was prepared */
	unsigned *sq_head, *sq_tail, *sq_mask, *cq_head, *cq_tail, *cq_mask;
	struct io_uring_sqe *sqes;
	struct io_uring_cqe *cqes;
	double calls;
};

/* uring_open makes a ring whose completions are worked on only when this thread asks; -1 and errno: not permitted. */
static int uring_open(struct uring *u, unsigned entries) {
	struct io_uring_params p = {.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE,
	                            .cq_entries = 16384};
	u->fd = (int)syscall(SYS_io_uring_setup, entries, &p);
	if (u->fd < 0)
		return -1;
	size_t sq_size = p.sq_off.array + p.sq_entries * sizeof(unsigned);
	size_t cq_size = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
	char *sq = mmap(NULL, sq_size > cq_size ? sq_size : cq_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, u->fd,
	                IORING_OFF_SQ_RING); /* both rings: IORING_FEAT_SINGLE_MMAP, Linux 5.4 */
	u->sqes = mmap(NULL, p.sq_entries * sizeof *u->sqes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, u->fd,
	               IORING_OFF_SQES);
	if (sq == MAP_FAILED || u->sqes == MAP_FAILED)
		fail("mmap of a ring");
	u->sq_head = (unsigned *)(sq + p.sq_off.head);
	u->sq_tail = (unsigned *)(sq + p.sq_off.tail);
	u->sq_mask = (unsigned *)(sq + p.sq_off.ring_mask);
	u->cq_head = (unsigned *)(sq + p.cq_off.head);
	u->cq_tail = (unsigned *)(sq + p.cq_off.tail);
	u->cq_mask = (unsigned *)(sq + p.cq_off.ring_mask);
	u->cqes = (struct io_uring_cqe *)(sq + p.cq_off.cqes);
	unsigned *array = (unsigned *)(sq + p.sq_off.array);
	for (unsigned i = 0; i < p.sq_entries; i++)
		array[i] = i;
	u->entries = p.sq_entries;
	u->tail = *u->sq_tail;
	u->to_submit = 0;
	u->calls = 0;
	return 0;
}

static int uring_register(struct uring *u, unsigned op, void *arg, unsigned n) {
	return (int)syscall(SYS_io_uring_register, u->fd, op, arg, n);
}

/* uring_enter hands over what was prepared and waits until at least wait completions are there. */
static void uring_enter(struct uring *u, unsigned wait) {
	__atomic_store_n(u->sq_tail, u->tail, __ATOMIC_RELEASE);
	u->calls++;
	long n = syscall(SYS_io_uring_enter, u->fd, u->to_submit, wait, IORING_ENTER_GETEVENTS, NULL, 0);
	if (n < 0 && errno != EINTR && errno != EAGAIN && errno != EBUSY)
		fail("io_uring_enter");
	if (n > 0)
		u->to_submit -= (unsigned)n;
}

/* uring_next returns an empty entry to prepare. */
static struct io_uring_sqe *uring_next(struct uring *u) {
	while (u->to_submit == u->entries)
		uring_enter(u, 0);
	struct io_uring_sqe *sqe = &u->sqes[u->tail++ & *u->sq_mask];
	u->to_submit++;
	memset(sqe, 0, sizeof *sqe);
	return sqe;
}

/* uring_reap takes one completion; 0: there is none. */
static int uring_reap(struct uring *u, struct io_uring_cqe *cqe) {
	unsigned head = *u->cq_head;
	if (head == __atomic_load_n(u->cq_tail, __ATOMIC_ACQUIRE))
		return 0;
	*cqe = u->cqes[head & *u->cq_mask];
	__atomic_store_n(u->cq_head, head + 1, __ATOMIC_RELEASE);
	return 1;
}
