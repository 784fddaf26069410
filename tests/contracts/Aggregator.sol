// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

/// What a price feed's aggregator shows to its readers, with rounds that a test chooses.
///
/// The code is placed at an address without its constructor being run, so all state is set by initialise().
/// Differences between the versions follow what the mainnet aggregators do:
///   4  startedAt is the block time, like updatedAt; asking for a round above 2^32-1 reverts
///   6  startedAt is when the answer was observed off chain; asking for a round above 2^32-1 answers zeros
/// In both, a round that was never written answers zeros for all but its number.
contract Aggregator {
    struct Round {
        int256 answer;
        uint256 startedAt;
        uint256 updatedAt;
    }

    event AnswerUpdated(int256 indexed current, uint256 indexed roundId, uint256 updatedAt);
    event NewRound(uint256 indexed roundId, address indexed startedBy, uint256 startedAt);

    address public owner;
    uint8 public decimals;
    uint256 public version;
    string public description;
    uint80 public latestRound;
    mapping(uint80 => Round) private rounds;

    modifier onlyOwner() {
        require(msg.sender == owner, "only the owner");
        _;
    }

    function initialise(uint8 decimals_, uint256 version_, string calldata description_) external {
        require(owner == address(0), "initialised before");
        owner = msg.sender;
        decimals = decimals_;
        version = version_;
        description = description_;
    }

    /// Publish the next round. updatedAt 0 stands for this block's time; startedAt 0 for updatedAt.
    function push(int256 answer, uint256 startedAt, uint256 updatedAt) external onlyOwner {
        uint256 updated = updatedAt == 0 ? block.timestamp : updatedAt;
        uint256 started = startedAt == 0 || version < 6 ? updated : startedAt;
        uint80 round = ++latestRound;
        rounds[round] = Round(answer, started, updated);
        emit NewRound(round, msg.sender, started);
        emit AnswerUpdated(answer, round, updated);
    }

    /// Write one round as given and make it the latest, without an event: for what a sound aggregator never does,
    /// such as a time of 0 or a round number that goes back, and to begin at a chosen number.
    function setLatest(uint80 round, int256 answer, uint256 startedAt, uint256 updatedAt) external onlyOwner {
        latestRound = round;
        rounds[round] = Round(answer, startedAt, updatedAt);
    }

    function latestRoundData() external view returns (uint80, int256, uint256, uint256, uint80) {
        return read(latestRound);
    }

    function getRoundData(uint80 round) external view returns (uint80, int256, uint256, uint256, uint80) {
        if (round > type(uint32).max) {
            require(version >= 6, "No data present");
            return (0, 0, 0, 0, 0);
        }
        return read(round);
    }

    function read(uint80 round) private view returns (uint80, int256, uint256, uint256, uint80) {
        Round storage found = rounds[round];
        return (round, found.answer, found.startedAt, found.updatedAt, round);
    }
}
