"""Runs scenarios recorded from Erlang/OTP against the supervision kernel, through its public interface only."""
