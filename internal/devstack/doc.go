// Package devstack gives a developer and the tests a private Postgres and a private Redis, on a machine that may have neither.
//
// Per service, the first that is to be had:
//
//  1. The URL that the caller gives, as is.
//  2. Installed programs, as child processes on a free port with a data directory of their own. What already listens on a
//     standard port is somebody's data and is never adopted.
//  3. On Debian and its kin: the distribution's packages, fetched into a cache without root and without installing anything.
//  4. Redis only, and only where the caller allows it: an in-process stand-in, good for a demo.
//  5. An error that says what to type on this system.
//
// # Guarantees
//
//   - Servers listen on 127.0.0.1 alone and want a random password, so that other users of the machine stay out.
//   - After [Stack.Stop] no process is left, and no directory unless [Options].Dir was given.
//   - When this process is killed, its servers end too: the kernel signals them (Linux), and a guard, a shell that waits on
//     a pipe from us, ends what is left and removes temporary directories. Should the guard die as well, the next Start
//     removes the directories of dead runs. It never touches a live one.
//   - Servers are in process groups of their own: Ctrl-C in a terminal reaches the caller, who stops in order.
//   - As root, servers run as the user postgres or nobody, since Postgres refuses root.
//   - Stacks on different directories do not know of each other; a second stack on the same kept directory is [ErrDirInUse].
//
// Nothing that serves traffic may depend on this package. It imports nothing of the project.
package devstack
