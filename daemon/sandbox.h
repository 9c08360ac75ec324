/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_SANDBOX_H
#define PL_SANDBOX_H

/*
 * What a process of a session may ask of the kernel: an exact list of system calls for each of the two, by number, so that
 * it is the same with every libseccomp. A call that is not on the list does not exist (ENOSYS: a newer C library then takes
 * the older call that is on it). A call that only somebody would make who has taken the process over kills it.
 *
 * For good, and for the processes that a keeper forks; a registrar cannot. To be called by the process itself after its privileges are dropped
 * (PR_SET_NO_NEW_PRIVS is needed). Returns 0 or a negative errno; after a failure the process must end.
 */
int sandbox_registrar(void);
int sandbox_keeper(void);

/* Whether the two do anything. The sanitizers' runtimes make calls of their own, so under them there is no sandbox. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANDBOX_WORKS 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(memory_sanitizer) || __has_feature(thread_sanitizer)
#define SANDBOX_WORKS 0
#endif
#endif
#ifndef SANDBOX_WORKS
#define SANDBOX_WORKS 1
#endif

#endif
