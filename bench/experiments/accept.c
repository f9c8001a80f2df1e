/*
 * Short connections on two accepting threads: who is woken for which?
 *
 * Two processes of their own connect, send 64 B, read 64 B and close, 32 connections each at a time, then 1. Two
 * threads here accept, answer and see the end. Measured is the processor time of both for a connection, how evenly
 * connections are spread (the part of the busier thread, 0.50 at best), and calls of accept that found nothing.
 */
#include "turns.h"
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>

enum { THREADS = 2, CROWDS = 2, CONNECTIONS = 6000, BYTES = 64, EVENTS = 512 };

static const struct way {
	int reuseport, most; /* most: accepts for one event */
	uint32_t flags;
	int defer;
} ways[] = {
	{1, 128, 0, 0}, {1, 1, 0, 0},          {1, 128, 0, 1},           {0, 128, EPOLLEXCLUSIVE, 0},
	{0, 1, EPOLLEXCLUSIVE, 0}, {0, 128, 0, 0}, {0, 1, 0, 0},
};

static int together; /* connections of a crowd at a time */

struct thread {
	pthread_t id;
	const struct way *way;
	int listener, stop, open;
	double cpu, accepted, futile, turns;
};

static void ask(const struct sockaddr_in *a) {
	char buffer[BYTES] = {0};
	struct epoll_event events[EVENTS];
	int ep = epoll_create1(0), made = 0, done = 0;
	while (done < CONNECTIONS / CROWDS) {
		while (made < CONNECTIONS / CROWDS && made - done < together) {
			int fd = connect_to(a);
			made++;
			send(fd, buffer, BYTES, 0);
			watch(ep, EPOLL_CTL_ADD, fd, EPOLLIN, (uint64_t)fd);
		}
		int n = epoll_wait(ep, events, EVENTS, -1);
		for (int i = 0; i < n; i++, done++) {
			if (recv(events[i].data.fd, buffer, BYTES, 0) != BYTES)
				fail("reply");
			close(events[i].data.fd);
		}
	}
	_exit(0);
}

static void answer(struct thread *t, int fd) {
	char buffer[BYTES];
	ssize_t n = recv(fd, buffer, BYTES, MSG_DONTWAIT);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n > 0)
		send(fd, buffer, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL);
	else {
		close(fd);
		t->open--;
	}
}

static void accept_some(struct thread *t, int ep) {
	for (int i = 0; i < t->way->most; i++) {
		int fd = accept4(t->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0) {
			t->futile++;
			return;
		}
		t->accepted++;
		t->open++;
		watch(ep, EPOLL_CTL_ADD, fd, EPOLLIN, (uint64_t)fd);
	}
}

static void *serve(void *arg) {
	struct thread *t = arg;
	struct epoll_event events[EVENTS];
	int ep = epoll_create1(0), stopping = 0;
	watch(ep, EPOLL_CTL_ADD, t->listener, EPOLLIN | t->way->flags, (uint64_t)t->listener);
	watch(ep, EPOLL_CTL_ADD, t->stop, EPOLLIN, (uint64_t)t->stop);
	double before = clock_of(CLOCK_THREAD_CPUTIME_ID);
	while (!stopping || t->open > 0) {
		int n = epoll_wait(ep, events, EVENTS, -1);
		t->turns++;
		for (int i = 0; i < n; i++) {
			int fd = events[i].data.fd;
			if (fd == t->listener)
				accept_some(t, ep);
			else if (fd != t->stop)
				answer(t, fd);
			else {
				stopping = 1;
				watch(ep, EPOLL_CTL_DEL, fd, 0, 0);
			}
		}
	}
	t->cpu = clock_of(CLOCK_THREAD_CPUTIME_ID) - before;
	close(ep);
	return NULL;
}

static int open_port(struct sockaddr_in *a, const struct way *w) {
	int fd = listen_on(a, w->reuseport), seconds = 5, on = 1;
	at_once(fd, on);
	if (w->defer && setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, sizeof seconds) < 0)
		fail("TCP_DEFER_ACCEPT");
	int flags = SOCK_NONBLOCK;
	if (ioctl(fd, FIONBIO, &flags) < 0)
		fail("FIONBIO");
	return fd;
}

static int turn(int variant, double *figures) {
	const struct way *w = &ways[variant];
	struct thread threads[THREADS] = {0};
	struct sockaddr_in a = {0}; /* a port of its own for each turn: addresses that wait for their end are in nobody's way */
	int stop = eventfd(0, EFD_CLOEXEC), listener = 0;
	for (int i = 0; i < THREADS; i++) {
		if (i == 0 || w->reuseport)
			listener = open_port(&a, w);
		threads[i] = (struct thread){.way = w, .listener = listener, .stop = stop};
	}
	double wall = clock_of(CLOCK_MONOTONIC);
	for (int i = 0; i < CROWDS; i++) /* before anything is accepted: a copy of a descriptor would keep its connection */
		if (other_side() == 0)
			ask(&a);
	for (int i = 0; i < THREADS; i++)
		pthread_create(&threads[i].id, NULL, serve, &threads[i]);
	for (int i = 0; i < CROWDS; i++)
		wait(NULL);
	wall = clock_of(CLOCK_MONOTONIC) - wall;
	uint64_t one = 1;
	if (write(stop, &one, sizeof one) != sizeof one)
		fail("eventfd");
	double most = 0;
	for (int i = 0; i < THREADS; i++) {
		pthread_join(threads[i].id, NULL);
		figures[0] += threads[i].cpu / CONNECTIONS / 1e3;
		figures[3] += threads[i].futile / CONNECTIONS;
		figures[4] += threads[i].turns / CONNECTIONS;
		if (threads[i].accepted > most)
			most = threads[i].accepted;
		if (i == 0 || w->reuseport)
			close(threads[i].listener);
	}
	figures[1] = CONNECTIONS / wall * 1e6;
	figures[2] = most / CONNECTIONS;
	close(stop);
	return 0;
}

int main(void) {
	for (together = 32; together > 0; together -= 31) {
		char title[96];
		snprintf(title, sizeof title, "Short connections, %d at a time, two accepting threads", CROWDS * together);
		struct experiment e = {title,
		                       {"us a connection", "1000/s", "busier thread", "in vain each", "turns each", NULL},
		                       {"SO_REUSEPORT, 128 accepts an event", "SO_REUSEPORT, 1 accept an event",
		                        "SO_REUSEPORT, 128, TCP_DEFER_ACCEPT", "one listener, EPOLLEXCLUSIVE, 128",
		                        "one listener, EPOLLEXCLUSIVE, 1", "one listener, 128", "one listener, 1", NULL},
		                       turn};
		take_turns(&e);
	}
}
