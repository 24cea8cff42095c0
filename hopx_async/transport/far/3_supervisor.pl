# The supervisor of one command.

sub supervise {
    my ($dir, $id, $told, $spec) = @_;
    POSIX::setsid();
    $0 = "hopx supervisor of $id";
    syscall($CALL{prctl}, 36, 1, 0, 0, 0);
    $SIG{$_} = 'IGNORE' for qw(HUP INT TERM PIPE);
    my $mine = (stat_of($$))[4];
    {
        my $lock = locked($dir) or POSIX::_exit(1);
        # Whoever gave it up meanwhile has said so, and it is never run.
        POSIX::_exit(0) if -e "$dir/exit";
        put_file("$dir/sup", "$$ $mine " . boot_id());
    }
    my ($out, $out_end, $err, $err_end, $fail, $fail_end);
    pipe($out, $out_end) && pipe($fail, $fail_end) or die "pipe: $!\n";
    $spec->{merge} or pipe($err, $err_end) or die "pipe: $!\n";
    nonce();
    my $mark = hex(random()) & 0x0fff_ffff_ffff_ffff;
    my $began = uptime();
    my $log = Log->new($dir, $spec->{keep});
    my $pid = fork // die "fork: $!\n";
    leader($id, $spec, $out_end, $err_end // $out_end, $fail_end, $mark) if !$pid;
    close $_ for grep { $_ } $out_end, $err_end, $fail_end;
    my $ticks = (stat_of($pid))[4] // 0;
    sysread $fail, my $failure, 4096;
    if (length($failure // '')) {
        waitpid $pid, 0;
        my ($errno, $name) = unpack 'Va*', $failure;
        finish($dir, $log, $EXITED, {reason => 'spawn_failed', errno => $errno, filename => $name, ended => now()});
        return syswrite $told, '.';
    }
    my $started = now();
    put_file("$dir/leader", "$pid $ticks $mark $started");
    $log->append(record($STARTED, sprintf '{"pid":%d,"start_ticks":%d,"boot_id":"%s"}', $pid, $ticks, boot_id()));
    syswrite $told, '.';
    close $told;
    our %mine = ($id => "$pid $ticks $mark");
    # Without its marker nobody can hear of it any more: then it does not go on unseen.
    eval { watch($dir, $id, $log, $pid, $began, $started, $spec, $out, $err); 1 } or end_all('KILL', $id);
}

sub leader {
    my ($id, $spec, $out, $err, $fail, $mark) = @_;
    my $failed = sub { syswrite $fail, pack('Va*', $! + 0, $_[0]); POSIX::_exit(127) };
    fcntl($fail, F_SETFD, FD_CLOEXEC);
    POSIX::setsid();
    $SIG{$_} = 'DEFAULT' for qw(HUP INT TERM PIPE);
    POSIX::dup2(fileno $out, 1);
    POSIX::dup2(fileno $err, 2);
    POSIX::close($_) for grep { $_ > 2 && $_ != fileno $fail } map { /(\d+)$/ } glob '/proc/self/fd/*';
    syscall($CALL{prlimit}, 0, 10, pack('QQ', $mark, ~0), 0);
    %ENV = %{$spec->{env}};
    $ENV{HOPX_SCOPE} = join ':', grep { length } $ENV{HOPX_SCOPE} // '', nonce() . "/$id";
    $ENV{HOPX_PROCESS_ID} = $id;
    my $here = readlink('/proc/self/cwd') // '.';
    my $where = $spec->{cwd} =~ m{^/} ? $spec->{cwd} : $spec->{cwd} eq '.' ? $here : "$here/$spec->{cwd}";
    chdir $spec->{cwd} or $failed->($where);
    $ENV{PWD} = $where;
    my @command = @{$spec->{command}};
    no warnings 'exec';
    exec { $command[0] } @command or $failed->($command[0]);
}

sub watch {
    my ($dir, $id, $log, $pid, $began, $started, $spec, $out, $err) = @_;
    my %pipes = (fileno($out) => [$out, $STDOUT, 'stdout']);
    $pipes{fileno $err} = [$err, $STDERR, 'stderr'] if $err;
    pipe(my $wake, my $ring) or die $!;
    fcntl($_, F_SETFL, O_NONBLOCK) for $wake, $ring;
    local $SIG{CHLD} = sub { syswrite $ring, '.' };
    my ($status, $drained, $dead_at, $recorded);
    my $limit = $spec->{timeout} ? $began + $spec->{timeout} : undef;
    my $idle = $spec->{idle} ? uptime() + $spec->{idle} : undef;
    my ($kill_at, @tail);
    my $run_out = sub {
        my $found = members($id);
        if (!$kill_at) { $kill_at = uptime() + $spec->{grace}; signal_all('TERM', $found) }
        elsif (uptime() >= $kill_at) { signal_all('KILL', $found); $kill_at = uptime() + 0.1 }
        $kill_at = undef if defined $status && !%$found;
    };
    my $limits = sub {
        return if defined $status || $kill_at;
        my $now = uptime();
        my $hit = defined $limit && $now >= $limit ? 'timed_out' : defined $idle && $now >= $idle ? 'idle_timed_out' : return;
        claim_cause($dir, $hit);
        $run_out->();
    };
    $log->{meanwhile} = $limits;
    while (1) {
        die "$dir is gone\n" if !-d $dir;
        my ($gone, $code) = (0, 0);
        while (($gone = waitpid -1, POSIX::WNOHANG()) > 0) {
            if ($gone == $pid) { $status = $?; $dead_at = uptime(); $drained = $dead_at + $spec->{drain}; $log->{ended} = now() }
        }
        if (defined $status && !$recorded && (!%pipes || uptime() >= $drained)) {
            my %end = (started => $started, ended => $log->{ended}, duration => $dead_at - $began, tail => \@tail,
                       survivors => scalar @{members($id)->{$id} // []});
            finish($dir, $log, $EXITED, outcome($dir, $status, \%end));
            $recorded = 1;
        }
        $limits->();
        $run_out->() if $kill_at && (uptime() >= $kill_at || defined $status);
        last if $recorded && !%pipes && !$kill_at;
        my @until = grep { defined } $kill_at, defined $status ? ($recorded ? () : $drained) : $kill_at ? () : ($limit, $idle);
        my $rest;
        for my $at (@until) { my $left = $at - uptime(); $left = 0 if $left < 0; $rest = $left if !defined $rest || $left < $rest }
        $rest = 0.1 if defined $status && $kill_at;
        $rest = $LOOK if !defined $rest || $rest > $LOOK;
        my $bits = '';
        vec($bits, $_, 1) = 1 for fileno $wake, keys %pipes;
        my $ready = select($bits, undef, undef, $rest);
        next if $ready <= 0;
        sysread $wake, my $none, 512;
        for my $fd (grep { vec $bits, $_, 1 } keys %pipes) {
            my ($pipe, $kind, $stream) = @{$pipes{$fd}};
            my $count = sysread $pipe, my $bytes, 65536;
            if (!defined $count) { next if $! == EINTR || $! == EAGAIN }
            if (!$count) { delete $pipes{$fd}; close $pipe; next }
            next if $recorded;
            $idle = uptime() + $spec->{idle} if $idle;
            $log->data($kind, $bytes);
            push @tail, [$stream, substr $bytes, -4096 <= -length $bytes ? 0 : -4096];
            shift @tail while @tail > 1 && @tail > 64;
        }
    }
}

# The first cause counts: a file that only one can make.
sub claim_cause {
    my ($dir, $cause) = @_;
    if (sysopen(my $file, "$dir/cause", O_WRONLY | O_CREAT | O_EXCL, 0600)) { syswrite $file, $cause }
}

sub outcome {
    my ($dir, $status, $end) = @_;
    my ($signal, $code) = ($status & 127, $status >> 8);
    my $cause = slurp("$dir/cause") // '';
    $end->{$signal ? 'signal' : 'code'} = $signal ? signal_name($signal) : $code;
    $end->{reason} = $cause || ($signal ? 'signaled' : 'exited');
    return $end;
}

sub finish {
    my ($dir, $log, $kind, $end) = @_;
    my $number = sub { defined $_[0] ? 0 + $_[0] : 'null' };
    my $text = sub { defined $_[0] ? quoted($_[0]) : 'null' };
    my $json = sprintf '{"exit_code":%s,"signal":%s,"reason":"%s","started_at":%s,"ended_at":%.6f,"duration":%.6f,'
        . '"survivors":%d,"errno":%s,"filename":%s,"usage":null', $number->($end->{code}), $text->($end->{signal}),
        $end->{reason}, $number->($end->{started}), $end->{ended}, $end->{duration} // 0, $end->{survivors} // 0,
        $number->($end->{errno}), $text->($end->{filename});
    my ($room, @tail) = (4096);
    for my $piece (reverse @{$end->{tail} // []}) {
        my $kept = length $piece->[1] > $room ? substr $piece->[1], -$room : $piece->[1];
        unshift @tail, sprintf '["%s","%s"]', $piece->[0], base64($kept) if $room > 0 && length $kept;
        $room -= length $kept;
    }
    my $fine = $end->{reason} eq 'exited' && !$end->{code};
    $json .= ',"tail":[' . join(',', @tail) . ']' if !$fine && @tail;
    my $record = record($kind, "$json}");
    $log->append($record);
    put_file("$dir/exit", ($log->{end} - length $record) . "\n$record");
}
