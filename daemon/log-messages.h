/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_LOG_MESSAGES_H
#define PL_LOG_MESSAGES_H

/*
 * What an administrator acts on. The ids are for ever: programs search the journal for them, and systemd/pinlease.catalog
 * explains each. The title stands where messages of a kind are counted instead of written.
 *
 * The start and the end of a session are not among them: nobody acts on these, and a busy host has thousands.
 */
#define LOG_MESSAGES(MESSAGE)                                                                                          \
        MESSAGE(PROTOCOL_VIOLATION, "81e325db6fc14669b142570e235693a6", "broken protocol")                             \
        MESSAGE(SILENT_APP, "24db23b5ab29482ebb6018d389ed4697", "silent connections")                                  \
        MESSAGE(TURNED_AWAY, "53d430aa4985428e95c15bb59dbd796f", "connections turned away")                            \
        MESSAGE(REGISTRAR_KILLED, "70e6579497cc457ca22f42cfed6d5a78", "hung registrars")                               \
        MESSAGE(REGISTRAR_BROKEN, "c852da1cd84a42b9ae27d813eae2c72d", "registrars out of control")                     \
        MESSAGE(REGISTRAR_STUCK, "b6a9e845c4014901bd14a34f061da55f", "registrars that cannot be killed")               \
        MESSAGE(KEEPER_FAILED, "43343002dd3c4809975f8e8a7bfb42c5", "failed keepers")                                   \
        MESSAGE(MEMORY_KEPT, "e7902cbf2b1945e4b81e5890b503ca55", "memory that stays registered")                       \
        MESSAGE(LEDGER_LIES, "171f5a4a357b4a52a52731cd020ad7f3", "false ledgers")                                      \
        MESSAGE(REVOKED_BY_FORCE, "ec04484788214de092b69eb58cd0a877", "registrations taken away")                      \
        MESSAGE(BREAK_FAILED, "ef88e3d433a54278ae03177264e419b2", "changes that could not wait")                       \
        MESSAGE(MEMORY_FAILURE, "48704f47a5b740859271ddddeac17e02", "memory failures")                                 \
        MESSAGE(GUARD_LOST, "886040ea75a240d99cf64369fff2da84", "leases undone by apps")                               \
        MESSAGE(FORCE_FAILED, "e50c4829b60447bebd3b97551de49787", "registrations that could not be taken away")        \
        MESSAGE(APP_KILLED, "7a07773230ce41a2982b30c2db6121cb", "apps killed for their memory")                        \
        MESSAGE(POLICY_BROKEN, "8aadcdd91ace4a95b9ad0510e4f0c485", "policies that could not be loaded")                               \
        MESSAGE(POLICY_NOT_TAKEN, "e368cef59d1744c68e7cc9c7c0765198", "sessions that keep an old policy")                             \
        MESSAGE(REFUSED_BY_POLICY, "86f429e9543747bd910458767d29bafd", "registrations that a new policy refuses")                     \
        MESSAGE(CANNOT_START_SESSION, "a2590f8b4809445c95558cca757c7ed5", "sessions that could not be started")        \
        MESSAGE(SESSION_RESUMED, "2a931a0be32341268d9e3e655759208d", "sessions taken over")                            \
        MESSAGE(SESSION_OTHER_VERSION, "aefa1daf15084a11bee4c3fe3a9d0113", "sessions of another version")              \
        MESSAGE(DRAINED, "c6676cd723a040e69f15135691e6fd40", "the service drained")                                    \
        MESSAGE(SESSIONS_LEFT, "51555281b77849a0b6c1e974c3800f89", "sessions that would not end")                      \
        MESSAGE(SUPPRESSED, "03c656599d7d4d1a90d0ab899fce4e0f", "messages not written")

enum log_message {
        EVENT_NONE, /* a line without an id */
#define LOG_ENUM_(name, id, title) EVENT_##name,
        LOG_MESSAGES(LOG_ENUM_)
#undef LOG_ENUM_
        N_EVENTS,
};

#endif
