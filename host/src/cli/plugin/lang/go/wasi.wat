;; What stands for WASI in a component made of Go. The runtime asks WASI for time, randomness, arguments and streams; a plugin has none of
;; its own, and the host gives a component nothing but its world's imports. So: the wall clock is the host's, the other one counts how often
;; it was read, random bytes repeat in each instance, there are no arguments, files and sockets, and what is written to a stream goes to the
;; plugin's log, line by line. A sleep is over at once. Nothing here keeps memory of its own: Go believes that all of it is Go's.
(module
  (import "pintle:host/env@0.1.0" "now" (func $now (result i64)))
  (import "pintle:host/env@0.1.0" "log" (func $log (param i32 i32 i32)))
  (import "env" "memory" (memory 0))

  ;; Nanoseconds; one thousand each time that they are asked for.
  (global $ticks (mut i64) (i64.const 1000000000))
  (global $chance (mut i64) (i64.const 0x9e3779b97f4a7c15))
  ;; The SDK's buffer for a line that is not whole yet.
  (global $lines (mut i32) (i32.const 0))
  (global $size (mut i32) (i32.const 0))
  (global $filled (mut i32) (i32.const 0))

  (func (export "pintle_lines") (param $at i32) (param $bytes i32)
    (global.set $lines (local.get $at))
    (global.set $size (local.get $bytes)))

  (func $tell (param $level i32)
    (if (global.get $filled)
      (then
        (call $log (local.get $level) (global.get $lines) (global.get $filled))
        (global.set $filled (i32.const 0)))))

  (func $gather (param $level i32) (param $at i32) (param $bytes i32)
    (local $byte i32)
    (if (i32.eqz (global.get $size)) (then (return)))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $bytes)))
        (local.set $byte (i32.load8_u (local.get $at)))
        (if (i32.eq (local.get $byte) (i32.const 10))
          (then (call $tell (local.get $level)))
          (else
            (i32.store8 (i32.add (global.get $lines) (global.get $filled)) (local.get $byte))
            (global.set $filled (i32.add (global.get $filled) (i32.const 1)))
            (if (i32.eq (global.get $filled) (global.get $size)) (then (call $tell (local.get $level))))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (local.set $bytes (i32.sub (local.get $bytes) (i32.const 1)))
        (br $next))))

  ;; Standard output at the level info, everything else at error.
  (func (export "fd_write") (param $fd i32) (param $pieces i32) (param $count i32) (param $written i32) (result i32)
    (local $sum i32)
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $count)))
        (call $gather
          (select (i32.const 1) (i32.const 3) (i32.eq (local.get $fd) (i32.const 1)))
          (i32.load (local.get $pieces))
          (i32.load offset=4 (local.get $pieces)))
        (local.set $sum (i32.add (local.get $sum) (i32.load offset=4 (local.get $pieces))))
        (local.set $pieces (i32.add (local.get $pieces) (i32.const 8)))
        (local.set $count (i32.sub (local.get $count) (i32.const 1)))
        (br $next)))
    (i32.store (local.get $written) (local.get $sum))
    (i32.const 0))

  (func (export "proc_exit") (param i32)
    (call $tell (i32.const 3))
    unreachable)

  (func (export "clock_time_get") (param $clock i32) (param i64) (param $answer i32) (result i32)
    (if (i32.eqz (local.get $clock))
      (then (i64.store (local.get $answer) (call $now)))
      (else
        (global.set $ticks (i64.add (global.get $ticks) (i64.const 1000)))
        (i64.store (local.get $answer) (global.get $ticks))))
    (i32.const 0))

  (func (export "clock_res_get") (param i32) (param $answer i32) (result i32)
    (i64.store (local.get $answer) (i64.const 1000))
    (i32.const 0))

  ;; Of a sleep: the time has passed. There is nothing else to wait for.
  (func (export "poll_oneoff") (param $asked i32) (param $answer i32) (param i32) (param $count i32) (result i32)
    (if (i32.load8_u offset=8 (local.get $asked)) (then (return (i32.const 52))))
    (if (i32.and (i32.load16_u offset=40 (local.get $asked)) (i32.const 1))
      (then
        (if (i64.gt_u (i64.load offset=24 (local.get $asked)) (global.get $ticks))
          (then (global.set $ticks (i64.load offset=24 (local.get $asked))))))
      (else (global.set $ticks (i64.add (global.get $ticks) (i64.load offset=24 (local.get $asked))))))
    (i64.store (local.get $answer) (i64.load (local.get $asked)))
    (i64.store offset=8 (local.get $answer) (i64.const 0))
    (i32.store (local.get $count) (i32.const 1))
    (i32.const 0))

  (func (export "random_get") (param $at i32) (param $bytes i32) (result i32)
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $bytes)))
        (global.set $chance (i64.add (i64.mul (global.get $chance) (i64.const 6364136223846793005)) (i64.const 1442695040888963407)))
        (i64.store8 (local.get $at) (i64.shr_u (global.get $chance) (i64.const 56)))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (local.set $bytes (i32.sub (local.get $bytes) (i32.const 1)))
        (br $next)))
    (i32.const 0))

  (func $none (param $count i32) (param $bytes i32) (result i32)
    (i32.store (local.get $count) (i32.const 0))
    (i32.store (local.get $bytes) (i32.const 0))
    (i32.const 0))
  (export "args_sizes_get" (func $none))
  (export "environ_sizes_get" (func $none))
  (func $nothing (param i32 i32) (result i32) (i32.const 0))
  (export "args_get" (func $nothing))
  (export "environ_get" (func $nothing))
  (func (export "sched_yield") (result i32) (i32.const 0))

  ;; No such descriptor: so there are no folders.
  (func (export "fd_prestat_get") (param i32 i32) (result i32) (i32.const 8))
  ;; No such function.
  (func (export "fd_advise") (param i32 i64 i64 i32) (result i32) (i32.const 52))
  (func (export "fd_allocate") (param i32 i64 i64) (result i32) (i32.const 52))
  (func (export "fd_close") (param i32) (result i32) (i32.const 52))
  (func (export "fd_datasync") (param i32) (result i32) (i32.const 52))
  (func (export "fd_fdstat_get") (param i32 i32) (result i32) (i32.const 52))
  (func (export "fd_fdstat_set_flags") (param i32 i32) (result i32) (i32.const 52))
  (func (export "fd_fdstat_set_rights") (param i32 i64 i64) (result i32) (i32.const 52))
  (func (export "fd_filestat_get") (param i32 i32) (result i32) (i32.const 52))
  (func (export "fd_filestat_set_size") (param i32 i64) (result i32) (i32.const 52))
  (func (export "fd_filestat_set_times") (param i32 i64 i64 i32) (result i32) (i32.const 52))
  (func (export "fd_pread") (param i32 i32 i32 i64 i32) (result i32) (i32.const 52))
  (func (export "fd_prestat_dir_name") (param i32 i32 i32) (result i32) (i32.const 52))
  (func (export "fd_pwrite") (param i32 i32 i32 i64 i32) (result i32) (i32.const 52))
  (func (export "fd_read") (param i32 i32 i32 i32) (result i32) (i32.const 52))
  (func (export "fd_readdir") (param i32 i32 i32 i64 i32) (result i32) (i32.const 52))
  (func (export "fd_renumber") (param i32 i32) (result i32) (i32.const 52))
  (func (export "fd_seek") (param i32 i64 i32 i32) (result i32) (i32.const 52))
  (func (export "fd_sync") (param i32) (result i32) (i32.const 52))
  (func (export "fd_tell") (param i32 i32) (result i32) (i32.const 52))
  (func (export "path_create_directory") (param i32 i32 i32) (result i32) (i32.const 52))
  (func (export "path_filestat_get") (param i32 i32 i32 i32 i32) (result i32) (i32.const 52))
  (func (export "path_filestat_set_times") (param i32 i32 i32 i32 i64 i64 i32) (result i32) (i32.const 52))
  (func (export "path_link") (param i32 i32 i32 i32 i32 i32 i32) (result i32) (i32.const 52))
  (func (export "path_open") (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32) (i32.const 52))
  (func (export "path_readlink") (param i32 i32 i32 i32 i32 i32) (result i32) (i32.const 52))
  (func (export "path_remove_directory") (param i32 i32 i32) (result i32) (i32.const 52))
  (func (export "path_rename") (param i32 i32 i32 i32 i32 i32) (result i32) (i32.const 52))
  (func (export "path_symlink") (param i32 i32 i32 i32 i32) (result i32) (i32.const 52))
  (func (export "path_unlink_file") (param i32 i32 i32) (result i32) (i32.const 52))
  (func (export "sock_accept") (param i32 i32 i32) (result i32) (i32.const 52))
  (func (export "sock_recv") (param i32 i32 i32 i32 i32 i32) (result i32) (i32.const 52))
  (func (export "sock_send") (param i32 i32 i32 i32 i32) (result i32) (i32.const 52))
  (func (export "sock_shutdown") (param i32 i32) (result i32) (i32.const 52)))
