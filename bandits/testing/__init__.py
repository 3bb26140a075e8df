"""Is my algorithm what I claim?  Random worlds, wrong twins and laws, for anybody's tests.

Read in this order (pytest and hypothesis come with `pip install 'alignment-bandits[testing]'`):

    reading        which fields of its samples does an algorithm look at?
    twins          which mistakes must a law reject?
    strategies     which random worlds should a test draw?
    enumeration    which groups of samples can be drawn, one at a time?
    cases          on which world, sampled how, at which policy is a law tried?
    laws           which properties can be claimed, and how is a claim refuted?

Ten lines for a new algorithm, in a file of tests:

    from bandits.testing import laws
    from my_package import Mine

    def test_my_algorithm():
        mine = Mine(beta=0.5)
        laws.never_mutates(mine)
        laws.does_not_mix_the_batch(mine)
        laws.is_unbiased(mine)                                        # for grad J, on its own samples
        laws.ends_at(mine, lambda case: case.bandit.optimal_policy(0.5))
"""
